"""The task loop: no wake-up is lost, nothing spins, and errors do not end it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from loom.errors import StoreUnavailableError
from loom.identifiers import Micros
from loom.runner.clock import Clock, SystemClock
from loom.runner.task_loop import Claimed, TaskLoop
from tests.conditions import eventually

FOREVER = 3600.0


class Work:
    """Counts the claims, and answers them as it was told, then with nothing."""

    def __init__(self, *answers: Claimed | Exception) -> None:
        self.answers = list(answers)
        self.claims = 0
        self.during: Callable[[], object] = lambda: None

    async def claim(self) -> Claimed:
        self.claims += 1
        await asyncio.sleep(0)
        self.during()
        self.during = lambda: None
        answer = self.answers.pop(0) if self.answers else Claimed(found=False)
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def running(work: Work, clock: Clock | None = None, longest: float = FOREVER) -> Any:
    """A loop that has settled: it would not look again for a long time."""
    loop = TaskLoop("test", work.claim, clock or SystemClock(), lambda: longest)
    loop._wait = longest
    task = asyncio.create_task(loop.run())
    await eventually(lambda: work.claims > 0)
    try:
        yield loop
    finally:
        loop.stop()
        await task


def settled(work: Work, claims: int) -> Awaitable[None]:
    return eventually(lambda: work.claims == claims)


async def test_it_looks_again_at_once_as_long_as_it_finds_something() -> None:
    work = Work(Claimed(True), Claimed(True), Claimed(True))
    async with running(work):
        await settled(work, 4)


async def test_waking_makes_it_look() -> None:
    work = Work()
    async with running(work) as loop:
        for claims in (2, 3, 4):
            await asyncio.sleep(0)
            loop.wake()
            loop._wait = FOREVER
            await settled(work, claims)


async def test_a_wake_up_during_a_claim_is_not_lost() -> None:
    work = Work()
    async with running(work) as loop:
        work.during = loop.wake
        loop.wake()
        await eventually(lambda: work.claims >= 3)


async def test_what_is_due_is_looked_for_when_it_is_due() -> None:
    clock = SystemClock()
    work = Work(Claimed(False, next_due_at=clock.now() + 30_000))
    async with running(work, clock):
        await eventually(lambda: work.claims >= 2)


async def test_an_alarm_set_during_a_claim_is_not_lost() -> None:
    clock = SystemClock()
    work = Work()
    async with running(work, clock) as loop:
        work.during = lambda: loop.due_at(clock.now() + 10_000)
        before = work.claims
        loop.wake()
        loop._wait = FOREVER
        await eventually(lambda: work.claims >= before + 2)


async def test_an_earlier_alarm_replaces_a_later_one() -> None:
    clock = SystemClock()
    work = Work()
    async with running(work, clock) as loop:
        loop.due_at(clock.now() + 3_600_000_000)
        loop.due_at(clock.now() + 10_000)
        await eventually(lambda: work.claims >= 2)


async def test_something_due_that_others_hold_is_not_spun_on() -> None:
    class StandingClock(Clock):
        def now(self) -> Micros:
            return 1_000_000

    work = Work(*[Claimed(False, next_due_at=0)] * 1000)
    loop = TaskLoop("test", work.claim, StandingClock(), lambda: FOREVER)
    task = asyncio.create_task(loop.run())
    for _ in range(1000):
        await asyncio.sleep(0)
    # One look, and then a wait, however short.
    assert work.claims <= 3
    loop.stop()
    await task


async def test_a_clock_that_is_set_back_does_not_make_it_deaf() -> None:
    class SettableClock(Clock):
        hours_back = 0

        def now(self) -> Micros:
            return SystemClock().now() - self.hours_back * 3_600_000_000

    clock, work = SettableClock(), Work()
    async with running(work, clock, longest=0.01):
        clock.hours_back = 1
        claims = work.claims
        await eventually(lambda: work.claims > claims + 1)


async def test_errors_are_outlived() -> None:
    work = Work(StoreUnavailableError("away"), ValueError("a bug"), Claimed(True))
    async with running(work, longest=0.01):
        await eventually(lambda: work.claims >= 4)


async def test_stopping_ends_it_wherever_it_is() -> None:
    work = Work()
    loop = TaskLoop("test", work.claim, SystemClock(), lambda: FOREVER)
    loop.stop()
    await loop.run()
    assert work.claims == 0
    async with running(work) as loop:
        work.during = loop.stop
        loop.wake()
