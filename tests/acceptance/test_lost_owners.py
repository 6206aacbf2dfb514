"""Runs whose owners are lost again and again are set apart, and go on when somebody says so.

That real processes die of it is in ``tests/chaos`` (the scenario ``deadly-workflows``).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import cut_off, eventually
from tests.tampering import tamper

type Context = loom.WorkflowContext[Any, Any]


@loom.workflow
class Waiting(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.wait_for_signal("go", type=str)


async def a_waiting_run(app: loom.Loom, id: str) -> loom.WorkflowHandle[Any]:
    async with app.worker(workflows=[Waiting]):
        handle = await app.start(Waiting, id=id)

        async def waits() -> bool:
            return (await handle.info()).worker is None

        await eventually(waits)
    return handle


async def leave_behind(dsn: str, lost_owners: int, workflow_id: str = "deadly") -> None:
    """As it is when a worker has just been lost with the run, and so many before it."""
    await tamper(
        dsn,
        f"UPDATE workflows SET lease_owner = 'dead', lease_expires_at = 1, due_at = 1, "
        f"lost_owners = {lost_owners - 1} WHERE workflow_id = '{workflow_id}'",
    )


async def has_status(handle: loom.WorkflowHandle[Any], status: RunStatus) -> None:
    async def holds() -> bool:
        return await handle.status() is status

    await eventually(holds)


async def test_the_third_lost_worker_sets_a_run_apart_and_it_alone(dsn: str) -> None:
    async with loom.Loom(dsn) as app:
        deadly = await a_waiting_run(app, "deadly")
        others = [await a_waiting_run(app, f"other-{n}") for n in range(3)]
        await leave_behind(dsn, 3)
        for number, handle in enumerate(others):
            # They were there each time but the last.
            await leave_behind(dsn, min(number + 1, 2), handle.workflow_id)
            await handle.signal("go", "on")
        async with app.worker(workflows=[Waiting]):
            await has_status(deadly, RunStatus.BLOCKED)
            assert [await handle.result(10) for handle in others] == ["on"] * 3
        info = await deadly.info()
    assert info.lost_owners == 3
    assert info.blocked_reason is not None
    assert info.blocked_reason.startswith("3 workers in a row were lost")
    assert "loom retry" in info.blocked_reason
    assert info.wake_at is not None
    assert info.wake_at - info.updated_at == timedelta(seconds=30)


async def test_two_lost_workers_set_nothing_apart(dsn: str) -> None:
    async with loom.Loom(dsn) as app:
        handle = await a_waiting_run(app, "deadly")
        await leave_behind(dsn, 2)
        await handle.signal("go", "on")
        async with app.worker(workflows=[Waiting]):
            assert await handle.result(10) == "on"


async def test_how_many_is_a_setting(dsn: str) -> None:
    async with loom.Loom(dsn, settings=loom.Settings(max_lost_owners=5)) as app:
        handle = await a_waiting_run(app, "deadly")
        await leave_behind(dsn, 4)
        await handle.signal("go", "on")
        async with app.worker(workflows=[Waiting]):
            assert await handle.result(10) == "on"


@pytest.mark.parametrize(
    ("lost", "wait"),
    [
        (4, timedelta(minutes=5)),
        (5, timedelta(minutes=50)),
        (7, timedelta(days=1)),
        (2_000_000_000, timedelta(days=1)),
    ],
)
async def test_a_run_that_goes_on_losing_workers_is_tried_ever_more_rarely(
    dsn: str, lost: int, wait: timedelta
) -> None:
    async with loom.Loom(dsn) as app:
        handle = await a_waiting_run(app, "deadly")
        await leave_behind(dsn, lost)
        # As it was left by a worker that tried it when its wait was over.
        await tamper(dsn, "UPDATE workflows SET status = 'BLOCKED', wake_at = 1")

        async def waits_longer() -> bool:
            info = await handle.info()
            return info.wake_at is not None and info.wake_at - info.updated_at == wait

        async with app.worker(workflows=[Waiting]):
            await eventually(waits_longer)
        assert await handle.status() is RunStatus.BLOCKED


async def test_how_long_is_not_told_by_workers_that_were_lost_before_they_set_it_apart(
    dsn: str,
) -> None:
    async with loom.Loom(dsn) as app:
        handle = await a_waiting_run(app, "deadly")
        await leave_behind(dsn, 6)
        async with app.worker(workflows=[Waiting]):
            await has_status(handle, RunStatus.BLOCKED)
        info = await handle.info()
    assert info.wake_at is not None
    assert info.wake_at - info.updated_at == timedelta(seconds=30)


async def test_what_was_set_apart_is_tried_when_somebody_says_so(dsn: str) -> None:
    async with loom.Loom(dsn) as app:
        handle = await a_waiting_run(app, "deadly")
        await leave_behind(dsn, 3)
        await handle.signal("go", "on")
        async with app.worker(workflows=[Waiting]):
            await has_status(handle, RunStatus.BLOCKED)
        async with app.worker(workflows=[Waiting]):
            # A worker that starts does not try it: it may be one that was lost with it before.
            other = await app.start(Waiting)
            await other.signal("go", "on")
            assert await other.result(10) == "on"
            assert await handle.status() is RunStatus.BLOCKED
            await handle.retry()
            assert await handle.result(10) == "on"
        assert (await handle.info()).lost_owners == 0


async def test_what_was_set_apart_can_be_terminated(dsn: str) -> None:
    async with loom.Loom(dsn) as app:
        handle = await a_waiting_run(app, "deadly")
        await leave_behind(dsn, 3)
        async with app.worker(workflows=[Waiting]):
            await has_status(handle, RunStatus.BLOCKED)
            await handle.terminate()
        assert await handle.status() is RunStatus.TERMINATED
        with pytest.raises(loom.WorkflowClosedError, match="nothing to try again"):
            await handle.retry()


async def test_its_deadline_ends_a_run_without_its_code(dsn: str) -> None:
    async with loom.Loom(dsn) as app:
        handle = await app.start(Waiting, id="deadly", run_timeout=0.05)
        await leave_behind(dsn, 3)
        async with app.worker(workflows=[Waiting]):
            with pytest.raises(loom.WorkflowTimedOutError):
                await handle.result(10)


async def test_a_run_that_is_not_blocked_is_left_as_it_is(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        handle = await a_waiting_run(app, "well")
        before = await handle.info()
        await handle.retry()
        assert await handle.info() == before


async def test_runs_that_were_there_when_workers_died_go_on(any_dsn: str) -> None:
    """Each worker holds runs whose activities go on in it, and is gone without a word."""

    @loom.activity
    async def forever() -> Any:
        began.append(loom.activity_info().workflow_id)
        await asyncio.Event().wait()

    @loom.activity(name="forever")
    async def at_last() -> str:
        return "at last"

    @loom.workflow
    class Long(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> Any:
            return await ctx.activity(forever)

    began: list[str] = []
    settings = loom.Settings(lease_seconds=0.5, max_lost_attempts=10)
    async with loom.Loom(any_dsn, settings=settings) as app:
        handles = [await app.start(Long, id=f"long-{n}") for n in range(5)]
        for number in range(1, 5):
            async with (worker := app.worker(workflows=[Long], activities=[forever])):
                await eventually(lambda n=number: len(began) == 5 * n)
                cut_off(worker)
        async with app.worker(workflows=[Long], activities=[at_last]):
            # Who was there by chance each time, before it was seen to do no harm, may be set apart
            # for half a minute.
            assert [await handle.result(60) for handle in handles] == ["at last"] * 5
