"""Workers that stop hand back what they have, and those that die lose it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import loom
from loom import Settings
from loom.client import Client
from loom.storage.records import WorkflowClaim, WorkflowTask
from tests.acceptance.floor import (
    ACTIVITIES,
    FLOOR,
    WORKFLOWS,
    Adding,
    Hanging,
    HangingInThread,
)
from tests.conditions import cut_off, eventually
from tests.faults import Gate, watched_app


@pytest.fixture(autouse=True)
def floor() -> Iterator[None]:
    FLOOR.started.clear()
    FLOOR.may_end.clear()
    yield
    FLOOR.may_end.set()


# --- stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workflow", [Hanging, HangingInThread])
async def test_a_stopping_worker_hands_back_what_it_cannot_finish(
    app: loom.Loom, workflow: Any
) -> None:
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await app.start(workflow)
        await eventually(lambda: len(FLOOR.started) == 1)
    # The lease has not run out: it was handed back.
    info = await handle.info()
    assert info.worker is None
    [activity] = info.activities
    # The attempt that was stopped does not count.
    assert (activity.worker, activity.attempt, activity.failures) == (None, 0, 0)
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        assert await handle.result(30) == "over"


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
        assert await handle.result(30) == 4
    assert FLOOR.started == ["x"]


async def test_many_runs_are_handed_back_and_taken_up_by_another(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app, loom.Loom(any_dsn) as other:
        async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES, concurrency=5):
            handles = [await app.start(Adding, n) for n in range(100)]
        async with other.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
            assert [await h.result(30) for h in handles] == [n + 3 for n in range(100)]


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
    assert await handle.result(30) == 4
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


async def test_a_run_that_is_just_being_started_is_handed_back_too(any_dsn: str) -> None:
    gate = Gate("start_runs")
    async with watched_app(any_dsn, gate) as app:
        async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES) as worker:
            gate.open.clear()
            starting = asyncio.create_task(app.start(Hanging, id="h"))
            await eventually(lambda: gate.waiting > 0)
            closing = asyncio.create_task(worker.close())
            await eventually(lambda: all(task.done() for task in worker._loop_tasks))
            gate.open.set()
            handle = await starting
            await closing
        info = await handle.info()
        assert (info.worker, [a.worker for a in info.activities]) == (None, [None])


async def test_a_run_whose_starter_is_cancelled_is_worked_on_at_once(any_dsn: str) -> None:
    gate = Gate("start_runs")
    async with (
        watched_app(any_dsn, gate) as app,
        app.worker(workflows=WORKFLOWS, activities=ACTIVITIES),
    ):
        gate.open.clear()
        starting = asyncio.create_task(app.start(Adding, 1, id="a"))
        await eventually(lambda: gate.waiting > 0)
        starting.cancel()
        await asyncio.wait([starting])
        gate.open.set()
        await eventually(lambda: exists(app, "a"))
        # Long before the lease of its first turn would have run out.
        assert await app.handle("a").result(30) == 4


async def exists(app: loom.Loom, id: str) -> bool:
    return bool(await app.list(id=id))


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
            assert await handle.result(30) == "over"
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
            assert await other.handle(handle.workflow_id).result(30) == "over"
        # Once it is back, the first hears of it, and lets go.
        keeper._pulse()
        await eventually(lambda: not worker._activities._running)
        assert not worker._owned._owned


async def claim(handle: loom.WorkflowHandle[Any], owner: str) -> WorkflowTask:
    """Take a run as soon as its lease has run out, for a moment."""
    access = handle._access
    assert isinstance(access, Client)
    info = await handle.info()
    end_of_lease = access._clock.now() + 3_600_000_000
    [task] = (
        await access._repository.claim_workflow_tasks(
            WorkflowClaim(
                owner=owner,
                queue=info.queue,
                definitions=(),
                now=end_of_lease,
                lease_expires_at=end_of_lease,
                limit=1,
                run_key=await access.run_key(info.workflow_id, info.run_id),
            )
        )
    ).tasks
    return task


async def test_an_outcome_that_meets_a_newer_claim_of_its_run_is_not_lost(app: loom.Loom) -> None:
    """The run was taken over and has come back, while its activity went on here."""

    @loom.activity(name="hang")
    async def end_when_asked() -> str:
        FLOOR.started.append("x")
        await eventually(FLOOR.may_end.is_set)
        return "over"

    async with app.worker(workflows=[Hanging], activities=[end_when_asked]) as worker:
        handle = await app.start(Hanging)
        await eventually(lambda: FLOOR.started == ["x"])
        worker._workflow_loop.stop()
        # A renewal between the claims would tell the worker, whose loop no longer asks for more,
        # and set the clock by which they are made.
        await worker._leases.stop()
        await claim(handle, "another")
        task = await claim(handle, worker.id)
        deliver = worker._activities.deliver

        def deliver_just_before_the_claim(*outcome: Any) -> bool:
            delivered = deliver(*outcome)
            worker._workflows._receive(task)
            return delivered

        worker._activities.deliver = deliver_just_before_the_claim
        FLOOR.may_end.set()
        async with app.worker(workflows=[Hanging], activities=[end_when_asked]):
            assert await handle.result(30) == "over"
    assert FLOOR.started == ["x"]


# --- stopping, in the way of others --------------------------------------------------------------


@loom.activity
async def tick() -> None:
    FLOOR.started.append("tick")
    await asyncio.sleep(0)


@loom.workflow
class Restless(loom.Workflow[None, Any]):
    """Always has something to do."""

    async def run(self, ctx: loom.WorkflowContext[None, Any]) -> None:
        while True:
            await ctx.local_activity(tick)


async def test_a_run_that_always_has_work_keeps_no_worker_from_stopping(
    any_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(shutdown_grace_seconds=0.1)
    async with loom.Loom(any_dsn, settings=settings) as app:
        async with app.worker(workflows=[Restless, *WORKFLOWS], activities=ACTIVITIES):
            handles = [await app.start(Hanging)]
            await eventually(lambda: FLOOR.started == ["hang"])
            handles.append(await app.start(Restless))
            await eventually(lambda: "tick" in FLOOR.started)
        assert [(await handle.info()).worker for handle in handles] == [None, None]
        assert "not all was handed back" not in caplog.text
        for handle in handles:
            await handle.terminate()


async def test_whoever_closes_a_worker_and_is_cancelled_leaves_it_its_store(any_dsn: str) -> None:
    """An activity ends within the grace, while the application is being left."""
    is_open = asyncio.Event()

    @loom.activity(name="work")
    async def ends_when_asked(n: int) -> int:
        FLOOR.started.append("x")
        await eventually(FLOOR.may_end.is_set)
        return n + 1

    async def serve() -> None:
        async with (
            loom.Loom(any_dsn, settings=Settings(shutdown_grace_seconds=30)) as app,
            app.worker(workflows=WORKFLOWS, activities=[ends_when_asked]),
        ):
            await app.start(Adding, 1, id="adding")
            await eventually(lambda: FLOOR.started == ["x"])
            is_open.set()
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await is_open.wait()
    serving.cancel()  # from its work
    await eventually(lambda: named("loom-worker-close"))
    serving.cancel()  # from closing the worker
    await eventually(lambda: named("loom-close"))
    serving.cancel()  # from closing the application
    with pytest.raises(asyncio.CancelledError):
        await serving
    FLOOR.may_end.set()
    await eventually(lambda: not named("loom-"))
    async with loom.Loom(any_dsn) as app:
        handle = app.handle("adding")
        assert [e.type for e in await handle.history()].count("ACTIVITY_COMPLETED") == 1
        assert (await handle.info()).worker is None


def named(name: str) -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith(name)]
