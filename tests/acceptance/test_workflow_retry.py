"""Runs that are tried again when their code fails."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually

type Context = loom.WorkflowContext[Any, Any]

tries: list[Any] = []


@loom.activity
async def attempt(what: Any) -> int:
    tries.append(what)
    return len(tries)


@loom.workflow
class Shaky(loom.Workflow[int, Any]):
    """Completes at the try that its input tells."""

    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> list[Any]:
        number = await ctx.activity(attempt, ctx.input)
        ctx.set_tags({"tries": number})
        if number < ctx.input:
            raise ValueError(f"not at try {number}")
        return [number, ctx.memo]


@loom.workflow
class Hopeless(loom.Workflow[None, Any]):
    async def run(self, ctx: Context) -> None:
        raise ValueError("not at any try")


@loom.workflow
class Parent(loom.Workflow[tuple[str, float], Any]):
    """Has a hopeless child that is tried again for ever, so often."""

    async def run(self, ctx: loom.WorkflowContext[tuple[str, float], Any]) -> str:
        how, every = ctx.input
        for_ever = loom.RetryPolicy(
            maximum_attempts=None, initial_interval=every, maximum_interval=every
        )
        child = await ctx.start_child(
            Hopeless, id="child", retry=for_ever, parent_close_policy="cancel"
        )
        await ctx.wait_for_signal("go")
        if how == "cancels it":
            await child.cancel()
            with suppress(loom.ChildWorkflowCancelledError):
                await child.result()
        return how


ALL: dict[str, Any] = {"workflows": [Shaky, Hopeless, Parent], "activities": [attempt]}

SOON = loom.RetryPolicy(maximum_attempts=3, initial_interval=timedelta(seconds=0.05))
LATE = loom.RetryPolicy(
    maximum_attempts=3,
    initial_interval=timedelta(hours=1),
    maximum_interval=timedelta(hours=1),
)


@pytest.fixture(autouse=True)
def no_tries() -> None:
    tries.clear()


@pytest.fixture(params=["beside its worker", "elsewhere"])
async def app(any_dsn: str, request: pytest.FixtureRequest) -> Any:
    """The application that starts; a worker is there, of its own or of another."""
    async with loom.Loom(any_dsn) as app, loom.Loom(any_dsn) as other:
        worker = app if request.param == "beside its worker" else other
        async with worker.worker(**ALL):
            yield app


async def test_a_handle_waits_for_the_try_that_succeeds(app: loom.Loom) -> None:
    handle = await app.start(Shaky, 3, id="x", retry=SOON, memo="memo", tags={"n": 5})
    assert await handle.result(30) == [3, "memo"]
    runs = await app.list(id="x")
    assert [run.status for run in runs] == [
        RunStatus.COMPLETED,
        RunStatus.FAILED,
        RunStatus.FAILED,
    ]
    assert {run.first_run_id for run in runs[:2]} == {handle.run_id}
    assert runs[0].tags == {"n": 5, "tries": 3}
    assert runs[0].start_at is not None


async def test_the_last_failure_is_the_runs(app: loom.Loom) -> None:
    handle = await app.start(Shaky, 9, id="x", retry=SOON)
    with pytest.raises(loom.WorkflowFailedError, match="not at try 3"):
        await handle.result(30)
    assert await app.count(id="x", status="FAILED") == 3


async def test_an_error_that_is_not_to_be_retried_is_final(app: loom.Loom) -> None:
    once = loom.RetryPolicy(maximum_attempts=3, non_retryable=(ValueError,))
    handle = await app.start(Shaky, 9, id="x", retry=once)
    with pytest.raises(loom.WorkflowFailedError, match="not at try 1"):
        await handle.result(30)
    assert await app.count(id="x") == 1


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_the_next_try_is_called_off_by_the_first_handle(app: loom.Loom, how: str) -> None:
    handle = await app.start(Shaky, 9, id="x", retry=LATE)
    await eventually(lambda: is_waiting_for_its_second_try(app))
    await getattr(handle, how)()
    error = loom.WorkflowCancelledError if how == "cancel" else loom.WorkflowTerminatedError
    with pytest.raises(error):
        await handle.result(30)
    assert tries == [9]


async def is_waiting_for_its_second_try(app: loom.Loom) -> bool:
    return await app.count(id="x") == 2


@pytest.mark.parametrize("how", ["cancels it", "leaves it"])
@pytest.mark.parametrize("every", [0.1, 3600], ids=["often", "seldom"])
async def test_a_child_that_is_tried_for_ever_is_cancelled_by_its_parent(
    app: loom.Loom, how: str, every: float
) -> None:
    handle = await app.start(Parent, (how, every), id="p")
    await eventually(lambda: has_failed(app, "child"))
    await handle.signal("go")
    assert await handle.result(30) == how
    with pytest.raises(loom.WorkflowCancelledError):
        await app.handle("child").result(30)
    for run in await app.list(id="child"):
        history = await app.handle("child", run_id=run.run_id).export()
        loom.Replayer(workflows=[Hopeless]).replay(history).raise_for_error()


async def has_failed(app: loom.Loom, workflow_id: str) -> bool:
    return await app.count(id=workflow_id) > 1


async def test_no_other_run_takes_the_id_while_the_next_try_waits(app: loom.Loom) -> None:
    await app.start(Shaky, 9, id="x", retry=LATE)
    await eventually(lambda: is_waiting_for_its_second_try(app))
    with pytest.raises(loom.WorkflowAlreadyStartedError):
        await app.start(Shaky, 9, id="x", on_conflict="fail", reuse="reject")


async def test_the_time_of_the_chain_ends_its_tries(app: loom.Loom) -> None:
    handle = await app.start(Shaky, 9, id="x", retry=LATE, execution_timeout=60)
    with pytest.raises(loom.WorkflowFailedError, match="not at try 1"):
        await handle.result(30)
    assert await app.count(id="x") == 1


async def test_a_policy_with_functions_is_refused(app: loom.Loom) -> None:
    policy = loom.RetryPolicy(maximum_attempts=3, retry_error=lambda error: True)
    with pytest.raises(loom.ConfigurationError, match="retry_error"):
        await app.start(Shaky, 1, retry=policy)
    assert await app.list() == []
