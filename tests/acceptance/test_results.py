"""How runs end, as those who wait for them learn it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually

type Context = loom.WorkflowContext[Any, Any]


class CardRefused(Exception):
    """No money."""


@loom.activity
async def charge(amount: int) -> None:
    try:
        raise KeyError("limit")
    except KeyError as error:
        raise CardRefused(f"cannot charge {amount}") from error


@loom.workflow
class Raising(loom.Workflow[str, Any]):
    async def run(self, ctx: Context) -> None:
        raise ValueError(ctx.input)


@loom.workflow
class Charging(loom.Workflow[int, Any]):
    async def run(self, ctx: Context) -> None:
        await ctx.activity(charge, ctx.input)


@loom.workflow
class Waiting(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.wait_for_signal("go")


@loom.workflow
class Unstorable(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return object()


@loom.workflow
class Exiting(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        raise SystemExit(3)


WORKFLOWS = (Raising, Charging, Waiting, Unstorable, Exiting)


async def test_what_the_code_raised_is_told_with_its_traceback(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS):
        handle = await app.start(Raising, "no good", id="r")
        with pytest.raises(loom.WorkflowFailedError, match="no good") as caught:
            await handle.result(30)
    error = caught.value
    assert (error.workflow_id, error.run_id) == ("r", handle.run_id)
    assert (error.cause_type, error.cause_message) == ("ValueError", "no good")
    assert "raise ValueError(ctx.input)" in error.cause_traceback
    assert await handle.status() is RunStatus.FAILED


async def test_the_cause_of_a_failed_activity_reaches_whoever_awaits_the_run(
    app: loom.Loom,
) -> None:
    async with app.worker(workflows=WORKFLOWS, activities=[charge]):
        handle = await app.start(Charging, 5)
        with pytest.raises(loom.WorkflowFailedError, match="cannot charge 5") as caught:
            await handle.result(30)
    assert caught.value.cause_type == "loom.errors.ActivityFailedError"
    assert "CardRefused" in caught.value.cause_message
    failed = next(e for e in await handle.history() if e.type == "ACTIVITY_FAILED")
    assert "KeyError: 'limit'" in failed.attributes["failure"]["traceback"]


@pytest.mark.parametrize("workflow", [Unstorable, Exiting])
async def test_a_run_that_ends_badly_fails_alone(memory_dsn: str, workflow: Any) -> None:
    async with loom.Loom(memory_dsn) as app, app.worker(workflows=WORKFLOWS):
        with pytest.raises(loom.WorkflowFailedError):
            await (await app.start(workflow)).result(30)
        other = await app.start(Waiting)
        await other.signal("go", 1)
        assert await other.result(30) == 1


async def test_waiting_ends_at_its_timeout_and_the_run_goes_on(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS):
        handle = await app.start(Waiting)
        which = f"{handle.workflow_id}' .run {handle.run_id}. has not ended within 0.01 s"
        with pytest.raises(TimeoutError, match=which):
            await handle.result(timeout=0.01)
        await handle.signal("go", "on")
        assert await handle.result(30) == "on"


async def test_any_number_of_waiters_get_the_result_whoever_they_are(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app, loom.Loom(any_dsn) as other:
        async with app.worker(workflows=WORKFLOWS):
            handle = await app.start(Waiting, id="w")
            waiters = [asyncio.create_task(handle.result(30)) for _ in range(3)]
            waiters += [asyncio.create_task(other.handle("w").result(30)) for _ in range(3)]
            await other.handle("w").signal("go", 7)
            assert await asyncio.gather(*waiters) == [7] * 6
        # And whoever comes late.
        assert await other.handle("w").result(30) == 7


async def test_waiting_for_a_run_that_does_not_exist_says_so(app: loom.Loom) -> None:
    for call in (
        app.handle("nobody").result(30),
        app.handle("nobody").status(),
        app.handle("nobody").signal("x"),
        app.handle("nobody").cancel(),
        app.handle("nobody").terminate(),
        app.handle("nobody").history(),
        app.handle("nobody").logs(),
    ):
        with pytest.raises(loom.WorkflowNotFoundError, match="nobody"):
            await call


async def test_the_run_id_of_another_workflow_id_is_not_found(app: loom.Loom) -> None:
    mine = await app.start(Waiting, id="mine")
    await app.start(Waiting, id="yours")
    with pytest.raises(loom.WorkflowNotFoundError):
        await app.handle("yours", run_id=mine.run_id).status()


async def test_a_result_read_as_the_wrong_type_is_refused(app: loom.Loom) -> None:
    @loom.workflow(name="Waiting")
    class WaitingForInt(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> int: ...

    async with app.worker(workflows=WORKFLOWS):
        handle = await app.start(Waiting, id="w")
        await handle.signal("go", "text")
        assert await handle.result(30) == "text"
        with pytest.raises(loom.PayloadError):
            await app.handle("w", workflow=WaitingForInt).result(30)


async def test_runs_are_listed_newest_first_by_status_name_and_id(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS):
        for number in range(3):
            handle = await app.start(Waiting, id=f"w{number}")
        await handle.signal("go")
        await handle.result(30)
        failed = await app.start(Raising, "x", id="r")
        await eventually(lambda: _is(failed, RunStatus.FAILED))

    async def ids(**where: Any) -> list[str]:
        return [run.workflow_id for run in await app.list(**where)]

    assert await ids() == ["r", "w2", "w1", "w0"]
    assert await ids(status="running") == ["w1", "w0"]
    assert await ids(status=RunStatus.COMPLETED) == ["w2"]
    assert await ids(name="Raising") == await ids(id="r") == ["r"]
    first = await app.list(limit=2)
    assert [run.workflow_id for run in await app.list(limit=2, before=first[-1])] == ["w1", "w0"]
    with pytest.raises(loom.ConfigurationError, match="RUNNING"):
        await app.list(status="sleeping")


async def test_info_tells_what_a_run_is_waiting_for(app: loom.Loom) -> None:
    async with app.worker(workflows=[Charging]):
        handle = await app.start(Charging, 5)

        async def pending() -> bool:
            return bool((await handle.info()).activities)

        await eventually(pending)
    [activity] = (await handle.info()).activities
    assert (activity.name, activity.attempt, activity.worker) == ("charge", 0, None)


async def _is(handle: loom.WorkflowHandle[Any], status: RunStatus) -> bool:
    return await handle.status() is status
