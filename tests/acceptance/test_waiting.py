"""What a workflow can wait for, as one worker or several see it through."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import loom
from loom import RunStatus, Settings
from tests.conditions import eventually, given_time

type Context = loom.WorkflowContext[Any, Any]

MOMENT = timedelta(milliseconds=20)


@loom.activity
async def add(a: int, b: int) -> int:
    return a + b


@loom.activity
async def fail() -> None:
    raise ValueError("no")


@loom.activity
async def never() -> None:
    await asyncio.Event().wait()


@loom.workflow
class Sleeping(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> list[str]:
        woken = []
        before = ctx.now()
        await ctx.sleep(MOMENT)
        woken.append(f"slept {ctx.now() - before >= MOMENT}")
        await asyncio.sleep(0.01)
        await ctx.sleep(until=ctx.now() + MOMENT)
        await ctx.sleep(until=datetime(2000, 1, 1, tzinfo=UTC))
        await ctx.sleep(0)
        try:
            async with asyncio.timeout(0.01):
                await ctx.activity(never)
        except TimeoutError:
            woken.append("timed out")
        return woken


@loom.workflow
class Parallel(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> list[int]:
        sums = await asyncio.gather(*(ctx.activity(add, n, n) for n in range(ctx.input)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ctx.activity(add, total, 1)) for total in sums]
            group.create_task(ctx.sleep(MOMENT))
        return [task.result() for task in tasks]


@loom.workflow
class Failing(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> list[str]:
        outcomes = await asyncio.gather(
            ctx.activity(fail), ctx.activity(add, 1, 2), return_exceptions=True
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.activity(never))
                group.create_task(ctx.activity(fail))
        except* loom.ActivityFailedError as group_error:
            outcomes.append(group_error.exceptions[0])
        return [type(o).__name__ if isinstance(o, Exception) else str(o) for o in outcomes]


@dataclass
class Approval:
    by: str
    level: int = 1


@loom.workflow
class Approving(loom.Workflow[float | None, Any]):
    async def run(self, ctx: loom.WorkflowContext[float | None, Any]) -> list[Any]:
        got = []
        try:
            while len(got) < 3:
                approval = await ctx.wait_for_signal("approve", type=Approval, timeout=ctx.input)
                got.append(f"{approval.by} {approval.level}")
        except TimeoutError:
            got.append("too late")
        return got


WORKFLOWS = (Sleeping, Parallel, Failing, Approving)
ACTIVITIES = (add, fail, never)


@pytest.fixture(params=[1000, 0], ids=["cached", "evicted"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """With every run kept in memory while it waits, and with none."""
    return Settings(max_cached_runs=request.param)


@pytest.fixture
async def app(any_dsn: str, settings: Settings) -> Any:
    async with (
        loom.Loom(any_dsn, settings=settings) as app,
        app.worker(workflows=WORKFLOWS, activities=ACTIVITIES),
    ):
        yield app


async def test_sleeps_and_timeouts_are_durable_timers(app: loom.Loom) -> None:
    handle = await app.start(Sleeping)
    assert await handle.result(30) == ["slept True", "timed out"]
    types = [event.type for event in await handle.history()]
    assert types.count("TIMER_FIRED") == 4
    assert "ACTIVITY_CANCEL_REQUESTED" in types


async def test_gather_and_task_groups_run_activities_side_by_side(app: loom.Loom) -> None:
    handle = await app.start(Parallel, 20)
    assert await handle.result(30) == [2 * n + 1 for n in range(20)]


async def test_errors_of_activities_reach_gather_and_task_groups(app: loom.Loom) -> None:
    handle = await app.start(Failing)
    assert await handle.result(30) == ["ActivityFailedError", "3", "ActivityFailedError"]


async def test_signals_are_taken_in_order_whenever_they_come(app: loom.Loom) -> None:
    handle = await app.start(Approving, None)
    await handle.signal("approve", Approval("Ada"))
    await handle.signal("other", {"nobody": "waits"})
    await eventually(lambda: _received(handle, 2))
    await handle.signal("approve", {"by": "Bob", "level": 2})
    await handle.signal("approve", Approval("Cy", 3))
    assert await handle.result(30) == ["Ada 1", "Bob 2", "Cy 3"]


async def _received(handle: loom.WorkflowHandle[Any], count: int) -> bool:
    return sum(e.type == "SIGNAL_RECEIVED" for e in await handle.history()) == count


async def test_a_wait_for_a_signal_can_end_without_one(app: loom.Loom) -> None:
    assert await (await app.start(Approving, 0.02)).result(30) == ["too late"]


async def test_signals_sent_before_any_worker_is_there_are_waiting(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        handle = await app.start(Approving, None)
        for name in ("Ada", "Bob", "Cy"):
            await handle.signal("approve", Approval(name))
        async with app.worker(workflows=WORKFLOWS):
            assert await handle.result(30) == ["Ada 1", "Bob 1", "Cy 1"]


async def test_a_signal_sent_again_with_its_request_id_is_delivered_once(app: loom.Loom) -> None:
    handle = await app.start(Approving, None)
    for _ in range(3):
        await handle.signal("approve", Approval("Ada"), request_id="one")
        await eventually(lambda: _received(handle, 1))
    await handle.signal("approve", Approval("Bob"), request_id="two")
    await handle.signal("approve", Approval("Cy"))
    assert await handle.result(30) == ["Ada 1", "Bob 1", "Cy 1"]
    # Even when the run has closed, what was delivered was delivered.
    await handle.signal("approve", Approval("Ada"), request_id="one")


async def test_a_closed_run_takes_no_more_signals(app: loom.Loom) -> None:
    handle = await app.start(Approving, 0.001)
    await handle.result(30)
    with pytest.raises(loom.WorkflowClosedError):
        await handle.signal("approve", Approval("late"))


@pytest.mark.parametrize("bad", [object(), {"by": object()}])
async def test_a_payload_that_cannot_be_stored_is_refused(memory_dsn: str, bad: Any) -> None:
    async with loom.Loom(memory_dsn) as app:
        handle = await app.start(Approving, None)
        with pytest.raises(loom.PayloadError):
            await handle.signal("approve", bad)
        with pytest.raises(loom.PayloadError):
            await handle.signal("", 1)


async def test_a_wait_passes_over_a_signal_of_the_wrong_shape(app: loom.Loom) -> None:
    handle = await app.start(Approving, None)
    await handle.signal("approve", {"level": "high"})
    for name in ("Ada", "Bob", "Cy"):
        await handle.signal("approve", Approval(name))
    assert await handle.result(30) == ["Ada 1", "Bob 1", "Cy 1"]


async def test_a_wait_goes_on_when_its_worker_has_gone(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        async with app.worker(workflows=WORKFLOWS):
            handle = await app.start(Approving, None)
            await handle.signal("approve", Approval("Ada"))
            await eventually(lambda: _received(handle, 1))
        await handle.signal("approve", Approval("Bob"))
        async with app.worker(workflows=WORKFLOWS):
            await handle.signal("approve", Approval("Cy"))
            assert await handle.result(30) == ["Ada 1", "Bob 1", "Cy 1"]


async def test_a_sleep_that_ended_while_nobody_worked_is_over_at_once(any_dsn: str) -> None:
    @loom.workflow
    class Napping(loom.Workflow[float, Any]):
        async def run(self, ctx: loom.WorkflowContext[float, Any]) -> str:
            await ctx.sleep(ctx.input)
            return "awake"

    async def trial(seconds: float) -> None:
        async with loom.Loom(any_dsn) as app:
            async with app.worker(workflows=[Napping]):
                handle = await app.start(Napping, seconds)
            wake_at = (await handle.info()).wake_at
            assert wake_at is not None
            await eventually(lambda: datetime.now(UTC) > wake_at)
            assert await handle.status() is RunStatus.RUNNING
            async with app.worker(workflows=[Napping]):
                assert await handle.result(30) == "awake"

    await given_time(trial, 0.05, 1, 10)
