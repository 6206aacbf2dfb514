"""Leases are renewed off the event loop, for as long as the loop lives and no longer."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from loom.errors import StoreUnavailableError
from loom.runner.clock import SystemClock
from loom.runner.leases import HeldLeases, LeaseKeeper
from loom.runner.options import RunnerOptions
from loom.storage.records import Leases, RunLease, TaskLease
from tests.conditions import eventually

OPTIONS = RunnerOptions(lease=30_000, stall=2_000_000)


class Renewals:
    """The store as the keeper sees it."""

    def __init__(self) -> None:
        self.seen: list[Leases] = []
        self.threads: set[str] = set()
        self.lost = Leases()
        self.failures = 0
        self.connections = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        self.connections += 1
        yield self

    async def current_time(self) -> int:
        return time.time_ns() // 1000

    async def extend_leases(self, leases: Leases, owner: str, expires_at: int) -> Leases:
        self.threads.add(threading.current_thread().name)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError("away")
        self.seen.append(leases)
        return self.lost


@pytest.fixture
def store() -> Renewals:
    return Renewals()


@pytest.fixture
def held() -> HeldLeases:
    held = HeldLeases()
    held.add_run(1, token=3)
    held.add_task(1, 2, token=1)
    return held


HELD = Leases((RunLease(1, 3),), (TaskLease(1, 2, 1),))


@asynccontextmanager
async def keeping(
    store: Renewals,
    held: HeldLeases,
    options: RunnerOptions = OPTIONS,
    clock: SystemClock | None = None,
    keeper_class: type[LeaseKeeper] = LeaseKeeper,
) -> AsyncIterator[tuple[LeaseKeeper, list[Leases]]]:
    lost: list[Leases] = []
    keeper = keeper_class(
        held=held,
        owner="me",
        clock=clock or SystemClock(),
        options=options,
        connect=store.connect,
        on_lost=lost.append,
    )
    keeper.start()
    try:
        yield keeper, lost
    finally:
        await keeper.stop()
    assert "loom-leases" not in {thread.name for thread in threading.enumerate()}


async def test_what_is_held_is_renewed_on_a_thread_again_and_again(
    store: Renewals, held: HeldLeases
) -> None:
    async with keeping(store, held):
        await eventually(lambda: len(store.seen) >= 3)
    assert store.threads == {"loom-leases"}
    assert store.connections == 1
    assert store.seen[0] == HELD


async def test_a_busy_event_loop_keeps_its_leases(store: Renewals, held: HeldLeases) -> None:
    async with keeping(store, held):
        await eventually(lambda: len(store.seen) >= 1)
        before, deadline = len(store.seen), time.monotonic() + 10
        while len(store.seen) < before + 3 and time.monotonic() < deadline:
            time.sleep(0.001)  # blocks the loop, which is the point
        assert len(store.seen) >= before + 3


async def test_an_event_loop_that_is_stuck_loses_them(
    store: Renewals, held: HeldLeases, caplog: pytest.LogCaptureFixture
) -> None:
    options = RunnerOptions(lease=30_000, stall=1)
    async with keeping(store, held, options):
        deadline = time.monotonic() + 10
        while "stuck" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.001)
        seen = len(store.seen)
        while caplog.text.count("stuck") < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(store.seen) == seen


async def test_an_event_loop_that_somebody_steps_through_keeps_them(
    store: Renewals, held: HeldLeases
) -> None:
    async with keeping(store, held, RunnerOptions(lease=30_000, stall=1)):
        sys._getframe().f_trace = lambda *arguments: None  # what a debugger leaves behind
        deadline = time.monotonic() + 10
        while len(store.seen) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        sys._getframe().f_trace = None
        assert len(store.seen) >= 3


async def test_lost_leases_are_told_on_the_event_loop(store: Renewals, held: HeldLeases) -> None:
    store.lost = HELD
    async with keeping(store, held) as (_, lost):
        await eventually(lambda: len(lost) >= 2)
    assert lost[0] == HELD


async def test_nothing_is_asked_when_nothing_is_held(store: Renewals) -> None:
    held = HeldLeases()
    async with keeping(store, held):
        await eventually(lambda: store.connections == 1)
        held.add_run(7, token=1)
        await eventually(lambda: bool(store.seen))
    assert store.seen[0] == Leases((RunLease(7, 1),), ())


async def test_a_store_that_is_away_is_asked_again(store: Renewals, held: HeldLeases) -> None:
    store.failures = 3
    async with keeping(store, held):
        await eventually(lambda: bool(store.seen))
    assert store.connections == 4


class FarAway(Renewals):
    """A store for which each round trip makes the clocks skip three quarters of an interval."""

    TRIP = 750_000
    OPTIONS = RunnerOptions(lease=3_000_000, stall=10**18)

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.passed = 0

    async def current_time(self) -> int:
        self.asked.append("time")
        self.passed += self.TRIP
        return await super().current_time()

    async def extend_leases(self, leases: Leases, owner: str, expires_at: int) -> Leases:
        self.asked.append("renewal")
        self.passed += self.TRIP
        return await super().extend_leases(leases, owner, expires_at)


async def test_far_from_the_store_renewals_do_not_wait_for_the_clock(held: HeldLeases) -> None:
    store = FarAway()

    class Clock(SystemClock):
        def _steady(self) -> int:
            return super()._steady() + store.passed

    class Keeper(LeaseKeeper):
        def _steady(self) -> float:
            return super()._steady() + store.passed / 1_000_000

    async with keeping(store, held, store.OPTIONS, Clock(), Keeper):
        await eventually(lambda: store.asked.count("renewal") >= 5)
    # There is an interval for each; the leases run out in three.
    assert store.asked[0] == "renewal"
    assert ("time", "time") not in pairwise(store.asked)


async def test_the_clock_goes_by_the_stores_between_renewals(held: HeldLeases) -> None:
    store = FarAway()
    store.TRIP = 0
    async with keeping(store, held, RunnerOptions(lease=300_000)):
        await eventually(lambda: store.asked.count("time") >= 6)
    assert store.asked[0] == "renewal"


async def test_a_keeper_stops_before_it_has_well_begun(store: Renewals, held: HeldLeases) -> None:
    for _ in range(20):
        async with keeping(store, held, RunnerOptions()):
            await asyncio.sleep(0)


async def test_a_keeper_stops_while_the_loops_threads_are_all_taken(
    store: Renewals, held: HeldLeases
) -> None:
    may_end = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    taken = asyncio.create_task(asyncio.to_thread(may_end.wait, 30))
    async with asyncio.timeout(10), keeping(store, held):
        await eventually(lambda: bool(store.seen))
    may_end.set()
    await taken


async def test_what_is_dropped_is_not_renewed(held: HeldLeases) -> None:
    held.drop_run(1)
    held.drop_task(1, 2, token=1)
    held.drop_task(1, 2, token=1)
    assert not held.snapshot()


async def test_an_attempt_that_ends_late_leaves_its_successors_lease(held: HeldLeases) -> None:
    held.add_task(1, 2, token=2)
    held.drop_task(1, 2, token=1)
    assert held.snapshot().tasks == (TaskLease(1, 2, 2),)
