"""Whatever call to the store goes wrong, and however: the run ends as if nothing had happened."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import cut_off, eventually
from tests.faults import (
    Call,
    Deaf,
    Fault,
    Faulty,
    Gate,
    Interceptor,
    LateAnswer,
    Outage,
    sweep,
    watched_app,
)

type Context = loom.WorkflowContext[Any, Any]


class Refusing(Interceptor):
    """A store that takes no outcomes for a while, as when a password is being changed."""

    def __init__(self, times: int) -> None:
        self.left = times

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        if method == "complete_activity_tasks" and self.left:
            self.left -= 1
            raise loom.StoreError("not now")
        return await call()


EXECUTIONS: Counter[tuple[str, str]] = Counter()
"""How often each activity was run, by its run and by what it was asked."""


@pytest.fixture(autouse=True)
def executions() -> None:
    EXECUTIONS.clear()


@loom.activity
async def look(what: str) -> str:
    EXECUTIONS[loom.activity_info().run_id, what] += 1
    await asyncio.sleep(0)
    return what.upper()


@loom.activity(retry_count=20)
async def stumble(what: str) -> str:
    """Says how far it is and fails; the next attempt goes on from there."""
    EXECUTIONS[loom.activity_info().run_id, what] += 1
    done = loom.activity_info().heartbeat_details(type=str)
    if done is None:
        loom.heartbeat(what.upper())
        raise loom.ActivityError("again", retry_after=0)
    return done


@loom.workflow
class Everything(loom.Workflow[Any, dict[str, Any]]):
    async def run(self, ctx: Context) -> list[str]:
        ctx.logger.info("begun")
        found = await asyncio.gather(*(ctx.activity(look, what) for what in "ab"))
        await ctx.state.set("found", found)
        await ctx.sleep(0.01)
        signal = asyncio.ensure_future(ctx.wait_for_signal("go"))
        found.append(await ctx.activity(stumble, "c"))
        found.append(await signal)
        ctx.logger.info("nearly done")
        found.append(await ctx.local_activity(look, "d"))
        found.append(await ctx.activity(look, "e"))
        return found


EXPECTED = ["A", "B", "C", "now", "D", "E"]
SHAPE = Counter(
    {
        "WORKFLOW_STARTED": 1,
        "ACTIVITY_SCHEDULED": 5,
        "ACTIVITY_COMPLETED": 5,
        "STATE_SET": 1,
        "TIMER_STARTED": 1,
        "TIMER_FIRED": 1,
        "SIGNAL_RECEIVED": 1,
        "WORKFLOW_COMPLETED": 1,
    }
)


async def insist[T](act: Callable[[], Awaitable[T]]) -> T:
    """What a careful client does: ask again, with the same ids."""
    while True:
        try:
            return await act()
        except loom.StoreUnavailableError:
            await asyncio.sleep(0.01)


def worker_of(app: loom.Loom) -> loom.Worker:
    return app.worker(workflows=[Everything], activities=[look, stumble])


async def talk(app: loom.Loom) -> list[str]:
    """Start the run, signal it, and wait for it, whatever the store does."""
    await insist(lambda: app.start(Everything, id="e"))
    handle = app.handle("e", workflow=Everything)
    await insist(lambda: handle.signal("go", "now", request_id="one"))
    return await insist(lambda: handle.result(30))


async def see_through(app: loom.Loom) -> list[str]:
    """The result, whether or not the run was closed when its process died."""
    handle = app.handle("e", workflow=Everything)
    closed = await app.list(status=RunStatus.COMPLETED)
    return await (handle.result(30) if closed else talk(app))


async def check(app: loom.Loom) -> None:
    """One run, complete, each thing in its history once, and none left out."""
    [run] = await app.list()
    history = await app.handle("e").history()
    assert run.status is RunStatus.COMPLETED
    assert [event.sequence for event in history] == list(range(1, run.history_length + 1))
    assert Counter(event.type for event in history) == SHAPE
    logs = await app.handle("e").logs()
    assert [line.message for line in logs] == ["begun", "nearly done"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.CRASH])
async def test_any_call_may_go_wrong_once(
    any_dsn: str, fault: Fault, new_dsn: Callable[[], str]
) -> None:
    async def trial(n: int) -> bool:
        faulty = Faulty(fault, n)
        async with watched_app(new_dsn(), faulty, lease_seconds=0.5) as app:
            async with worker_of(app):
                assert await talk(app) == EXPECTED
            await check(app)
        return faulty.struck.is_set()

    await sweep(trial)


@pytest.mark.timeout(120)
async def test_the_process_may_die_at_any_call(any_dsn: str, new_dsn: Callable[[], str]) -> None:
    async def trial(n: int) -> bool:
        dsn = new_dsn()
        async with loom.Loom(dsn, settings=loom.Settings(lease_seconds=0.5)) as survivor:
            struck = await die_at(n, dsn)
            recorded = await recorded_activities(survivor)
            before = Counter(EXECUTIONS)
            async with worker_of(survivor):
                assert await see_through(survivor) == EXPECTED
            await check(survivor)
        for activity in recorded:
            assert EXECUTIONS[activity] == before[activity], activity
        return struck

    await sweep(trial)


async def die_at(n: int, dsn: str) -> bool:
    """Work until the n-th call, as a process that is then gone."""
    crashing = Faulty(Fault.CRASH, n)
    async with (
        watched_app(dsn, crashing, lease_seconds=0.5, shutdown_grace_seconds=0) as app,
        worker_of(app) as worker,
    ):
        talking = asyncio.create_task(talk(app))
        striking = asyncio.create_task(crashing.struck.wait())
        await asyncio.wait((talking, striking), return_when=asyncio.FIRST_COMPLETED)
        cut_off(worker)
        talking.cancel()
        striking.cancel()
        await asyncio.wait((talking, striking))
    return crashing.struck.is_set()


async def recorded_activities(app: loom.Loom) -> list[tuple[str, str]]:
    runs = await app.list()
    return [
        (run.run_id, event.value.lower())
        for run in runs
        for event in await app.handle("e").history()
        if event.type == "ACTIVITY_COMPLETED"
    ]


async def test_a_worker_that_stops_during_an_outage_stops(any_dsn: str) -> None:
    outage = Outage()
    async with loom.Loom(any_dsn, settings=loom.Settings(lease_seconds=0.5)) as survivor:
        async with watched_app(any_dsn, outage, lease_seconds=0.5) as app, worker_of(app):
            await app.start(Everything, id="e")
            outage.down = True
            await eventually(lambda: outage.refused > 2)
        async with worker_of(survivor):
            assert await talk(survivor) == EXPECTED
        await check(survivor)


async def test_what_a_stale_worker_writes_is_lost(any_dsn: str) -> None:
    """It has taken its turn, and is stopped just before it writes; another takes over."""
    gate = Gate("write_transitions")
    async with (
        loom.Loom(any_dsn, settings=loom.Settings(lease_seconds=0.5)) as other,
        watched_app(any_dsn, gate, lease_seconds=0.5) as app,
    ):
        worker = worker_of(app)
        worker._leases.start = lambda: None  # type: ignore[method-assign]  # never renews
        async with worker:
            gate.open.clear()
            await app.start(Everything, id="e")
            await eventually(lambda: gate.waiting > 0)
            async with worker_of(other):
                assert await talk(other) == EXPECTED
            history = await other.handle("e").history()
            gate.open.set()
            await eventually(lambda: not worker._workflows._drives)
            await eventually(lambda: not worker._activities._running)
            assert not worker._owned._owned
        assert await other.handle("e").history() == history
        await check(other)


async def test_what_a_stale_worker_completes_is_lost(any_dsn: str) -> None:
    gate = Gate("complete_activity_tasks")
    async with (
        loom.Loom(any_dsn, settings=loom.Settings(lease_seconds=0.5)) as other,
        watched_app(any_dsn, gate, lease_seconds=0.5) as app,
    ):
        async with other.worker(workflows=[Everything]):
            worker = app.worker(activities=[look, stumble])
            worker._leases.start = lambda: None  # type: ignore[method-assign]  # never renews
            async with worker:
                gate.open.clear()
                await other.start(Everything, id="e")
                await eventually(lambda: gate.waiting > 0)
                cut = worker._activity_loop
                cut.stop()
                async with other.worker(activities=[look, stumble]):
                    assert await talk(other) == EXPECTED
                gate.open.set()
                await eventually(lambda: not worker._activities._running)
        await check(other)


async def test_an_attempt_keeps_its_lease_when_the_answer_to_the_one_before_is_lost(
    any_dsn: str,
) -> None:
    """The failed attempt asks again, finds that it has been heard, and lets go of its own."""
    tokens: list[int] = []
    may_end = asyncio.Event()

    @loom.activity(retry=loom.RetryPolicy(maximum_attempts=2, initial_interval=timedelta(0)))
    async def fail_once() -> str:
        tokens.append(len(tokens) + 1)
        if len(tokens) == 1:
            raise ValueError("once")
        await may_end.wait()
        return "over"

    @loom.workflow
    class Trying(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> str:
            return await ctx.activity(fail_once)

    deaf = Deaf("complete_activity_tasks")
    async with watched_app(any_dsn, deaf) as app:
        worker = app.worker(workflows=[Trying], activities=[fail_once])
        # A renewal between the two attempts would tell the first one that it is over.
        worker._leases.start = lambda: None  # type: ignore[method-assign]
        async with worker:
            handle = await app.start(Trying)
            await eventually(lambda: deaf.asked_again.is_set() and len(tokens) == 2)
            await eventually(lambda: len(worker._activities._running) == 1)
            [lease] = worker._activities._held.snapshot().tasks
            assert lease.token == 2
            may_end.set()
            assert await handle.result(30) == "over"


async def test_an_attempt_that_is_ending_is_not_stopped_when_its_lease_ends_with_it(
    any_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The store has its failure, and a renewal finds that before its own write does."""
    attempts: list[int] = []

    @loom.activity(retry=loom.RetryPolicy(maximum_attempts=2, initial_interval=timedelta(0)))
    async def fail_once() -> str:
        attempts.append(loom.activity_info().attempt)
        if len(attempts) == 1:
            raise ValueError("once")
        return "over"

    @loom.workflow
    class Trying(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> str:
            return await ctx.activity(fail_once)

    late = LateAnswer("complete_activity_tasks")
    async with watched_app(any_dsn, late) as app:
        worker = app.worker(workflows=[Trying], activities=[fail_once])
        worker._leases.start = lambda: None  # type: ignore[method-assign]
        async with worker:
            handle = await app.start(Trying)
            await late.is_done.wait()
            [lease] = worker._activities._held.snapshot().tasks
            worker._activities.lost([lease])
            late.may_be_heard.set()
            assert await handle.result(30) == "over"
    assert attempts == [1, 2]
    assert caplog.text == ""


@loom.workflow
class Looking(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> str:
        return await ctx.activity(look, "here")


async def test_an_outcome_that_is_refused_for_a_moment_is_no_failure(any_dsn: str) -> None:
    refusing = Refusing(1)
    async with (
        watched_app(any_dsn, refusing) as app,
        loom.Loom(any_dsn) as other,
        # Its outcomes go through the store: the run is somebody else's.
        app.worker(activities=[look]),
        other.worker(workflows=[Looking]),
    ):
        assert await (await other.start(Looking)).result(30) == "HERE"
    assert refusing.left == 0
