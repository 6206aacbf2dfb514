"""Workers: what they take, what they leave to others, and how they stop."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

import loom
from loom import RunStatus, Settings
from tests.conditions import cut_off, eventually

type Context = loom.WorkflowContext[Any, Any]


class Floor:
    """Where the activities of one test meet."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.may_end = threading.Event()


FLOOR = Floor()


@pytest.fixture(autouse=True)
def floor() -> Any:
    FLOOR.started.clear()
    FLOOR.may_end.clear()
    yield FLOOR
    FLOOR.may_end.set()


@loom.activity
async def work(n: int) -> int:
    return n + 1


@loom.activity
async def hang() -> str:
    FLOOR.started.append("hang")
    if len(FLOOR.started) == 1:
        await asyncio.Event().wait()
    return "over"


@loom.activity
def hang_in_thread() -> str:
    FLOOR.started.append("thread")
    if len(FLOOR.started) == 1:
        FLOOR.may_end.wait(20)
    return "over"


@loom.workflow
class Adding(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        total = ctx.input
        for _ in range(3):
            total = await ctx.activity(work, total)
        return total


@loom.workflow(name="Adding", version="2")
class AddingAnew(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        return 1000 + await ctx.activity(work, ctx.input)


@loom.workflow
class Hanging(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(hang)


@loom.workflow
class HangingInThread(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(hang_in_thread)


@loom.workflow
class Waiting(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.wait_for_signal("go")


WORKFLOWS = (Adding, Hanging, HangingInThread, Waiting)
ACTIVITIES = (work, hang, hang_in_thread)


# --- who takes what ------------------------------------------------------------------------------


async def test_each_version_is_worked_on_by_those_who_have_it(app: loom.Loom) -> None:
    old, new = await app.start(Adding, 1), await app.start(AddingAnew, 1)
    async with app.worker(workflows=[AddingAnew], activities=ACTIVITIES):
        assert await new.result(10) == 1002
        assert (await old.info()).history_length == 0
    async with app.worker(workflows=[Adding], activities=ACTIVITIES):
        assert await old.result(10) == 4


async def test_an_activity_waits_for_a_worker_that_has_it(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS):
        handle = await app.start(Adding, 1)
        async with app.worker(activities=ACTIVITIES):
            assert await handle.result(10) == 4


async def test_a_queue_is_served_by_its_own_workers(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await app.start(Adding, 1, queue="heavy")
        assert await (await app.start(Adding, 5)).result(10) == 8
        assert (await handle.info()).history_length == 0
        async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES, queue="heavy"):
            assert await handle.result(10) == 4


async def test_several_workers_share_the_runs_of_a_process(app: loom.Loom) -> None:
    def worker() -> loom.Worker:
        return app.worker(workflows=WORKFLOWS, activities=ACTIVITIES, concurrency=2)

    handles = [await app.start(Adding, n) for n in range(20)]
    async with worker(), worker(), worker():
        handles += [await app.start(Adding, n) for n in range(20, 40)]
        results = await asyncio.gather(*(handle.result(20) for handle in handles))
    assert results == [n + 3 for n in range(40)]


async def test_a_worker_takes_no_more_runs_than_it_may_own_and_gets_through_all(
    any_dsn: str,
) -> None:
    settings = Settings(max_owned_runs=2, max_cached_runs=0, concurrency=1)
    async with loom.Loom(any_dsn, settings=settings) as app:
        handles = [await app.start(Adding, n) for n in range(15)]
        async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
            handles += [await app.start(Adding, n) for n in range(15, 30)]
            results = await asyncio.gather(*(handle.result(30) for handle in handles))
    assert results == [n + 3 for n in range(30)]


async def test_a_client_without_a_worker_does_all_that_a_client_does(dsn: str) -> None:
    async with (
        loom.Loom(dsn) as client,
        loom.Loom(dsn) as app,
        app.worker(workflows=WORKFLOWS, activities=ACTIVITIES),
    ):
        waiting = await client.start(Waiting, id="w")
        assert await (await client.start(Adding, 1)).result(10) == 4
        await client.handle("w").signal("go", "there")
        assert await waiting.result(10) == "there"
        assert [run.status for run in await client.list()] == [RunStatus.COMPLETED] * 2


# --- memory --------------------------------------------------------------------------------------


async def test_a_waiting_run_is_held_by_nobody_and_leaves_memory_when_asked(any_dsn: str) -> None:
    async with (
        loom.Loom(any_dsn, settings=Settings(max_cached_runs=1)) as app,
        app.worker(workflows=WORKFLOWS) as worker,
    ):
        handles = [await app.start(Waiting) for _ in range(5)]
        assert [(await handle.info()).worker for handle in handles] == [None] * 5
        assert not worker._workflows._owned
        assert len(worker._workflows._cache) == 1
        assert not worker._workflows._held.snapshot()
        for handle in handles:
            await handle.signal("go", 1)
        assert [await handle.result(10) for handle in handles] == [1] * 5


async def test_a_worker_holds_nothing_when_everything_is_done(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES) as worker:
        handles = [await app.start(Adding, n) for n in range(10)]
        await asyncio.gather(*(handle.result(10) for handle in handles))
        await eventually(lambda: not worker._workflows._held.snapshot())
        assert not worker._workflows._owned
        assert not worker._workflows._owned_ids
        await eventually(lambda: not worker._activities._running)
        assert len(worker._workflows._cache) == 0


# --- stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workflow", [Hanging, HangingInThread])
async def test_a_stopping_worker_hands_back_what_it_cannot_finish(
    app: loom.Loom, workflow: Any
) -> None:
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await app.start(workflow)
        await eventually(lambda: len(FLOOR.started) == 1)
        before = time.monotonic()
    # No wait for a lease, but for the half second of grace: the bound is generous, not a timing.
    assert time.monotonic() - before < 5
    info = await handle.info()
    assert info.worker is None
    [activity] = info.activities
    # The attempt that was stopped does not count.
    assert (activity.worker, activity.attempt, activity.failures) == (None, 0, 0)
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        assert await handle.result(10) == "over"


async def test_an_activity_that_ends_within_the_grace_is_recorded(app: loom.Loom) -> None:
    @loom.activity(name="work")
    async def ends_when_asked(n: int) -> int:
        FLOOR.started.append("x")
        await eventually(FLOOR.may_end.is_set)
        return n + 1

    async with app.worker(workflows=WORKFLOWS, activities=[ends_when_asked]) as worker:
        handle = await app.start(Adding, 1)
        await eventually(lambda: FLOOR.started == ["x"])
        closing = asyncio.create_task(worker.close())
        await eventually(lambda: worker._activities._closed)
        FLOOR.may_end.set()
        await closing
    assert [e.type for e in await handle.history()].count("ACTIVITY_COMPLETED") == 1
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        assert await handle.result(10) == 4
    assert FLOOR.started == ["x"]


async def test_many_runs_are_handed_back_and_taken_up_by_another(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app, loom.Loom(any_dsn) as other:
        async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES, concurrency=5):
            handles = [await app.start(Adding, n) for n in range(100)]
        async with other.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
            assert [await h.result(20) for h in handles] == [n + 3 for n in range(100)]


async def test_a_worker_works_once(app: loom.Loom) -> None:
    worker = app.worker(workflows=WORKFLOWS)
    async with worker:
        pass
    with pytest.raises(loom.ConfigurationError, match="another"):
        await worker.__aenter__()


async def test_run_works_until_stop_is_called(app: loom.Loom) -> None:
    worker = app.worker(workflows=WORKFLOWS, activities=ACTIVITIES)
    running = asyncio.create_task(worker.run())
    handle = await app.start(Adding, 1)
    assert await handle.result(10) == 4
    worker.stop()
    await running


async def test_an_application_that_is_left_stops_the_workers_it_still_has(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        worker = app.worker(workflows=WORKFLOWS, activities=ACTIVITIES)
        running = asyncio.create_task(worker.run())
        handle = await app.start(Hanging)
        await eventually(lambda: FLOOR.started == ["hang"])
    await running
    async with loom.Loom(any_dsn) as app:
        assert (await app.handle(handle.workflow_id).info()).worker is None


async def test_a_cancelled_user_leaves_a_clean_worker(app: loom.Loom) -> None:
    async def user() -> None:
        async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
            await app.start(Hanging, id="h")
            await asyncio.Event().wait()

    task = asyncio.create_task(user())
    await eventually(lambda: FLOOR.started == ["hang"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await app.handle("h").info()).worker is None


# --- dying ---------------------------------------------------------------------------------------


async def test_a_dead_workers_runs_are_taken_up_when_their_leases_end(any_dsn: str) -> None:
    settings = Settings(lease_seconds=0.5, shutdown_grace_seconds=0)
    async with (
        loom.Loom(any_dsn, settings=settings) as app,
        app.worker(workflows=WORKFLOWS, activities=ACTIVITIES) as worker,
    ):
        handle = await app.start(Hanging)
        await eventually(lambda: FLOOR.started == ["hang"])
        cut_off(worker)
        async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
            assert await handle.result(10) == "over"
        assert [e.type for e in await handle.history()] == [
            "WORKFLOW_STARTED",
            "ACTIVITY_SCHEDULED",
            "ACTIVITY_COMPLETED",
            "WORKFLOW_COMPLETED",
        ]


async def test_a_stuck_event_loop_loses_its_leases_and_does_no_harm(any_dsn: str) -> None:
    """The keeper's thread sees no pulse, and so another worker takes over."""
    settings = Settings(lease_seconds=0.5, stall_seconds=1)
    async with (
        loom.Loom(any_dsn, settings=settings) as app,
        app.worker(workflows=WORKFLOWS, activities=ACTIVITIES) as worker,
        loom.Loom(any_dsn, settings=settings) as other,
    ):
        handle = await app.start(Hanging)
        await eventually(lambda: FLOOR.started == ["hang"])
        keeper = worker._leases
        assert keeper._pulse_timer is not None
        keeper._pulse_timer.cancel()
        keeper._last_pulse = 0.0
        async with other.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
            assert await other.handle(handle.workflow_id).result(10) == "over"
        # Once it is back, the first hears of it, and lets go.
        keeper._pulse()
        await eventually(lambda: not worker._activities._running)
        assert not worker._workflows._owned
