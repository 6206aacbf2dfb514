"""Whole runs: what is asked for, in what order, and how a run ends."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

import pytest

from loom.authoring.compiled import workflow
from loom.authoring.workflow import Workflow, step
from loom.errors import (
    ActivityFailedError,
    ActivityLostError,
    ActivityTimeoutError,
    PayloadError,
)
from loom.history.events import ActivityCompleted, TimerFired, WorkflowStarted
from loom.history.failures import FailureKind
from loom.history.status import RunStatus
from tests.engine_harness import Play, SimulatedRun
from tests.unit.workflows import Ctx, add, clean, fetch, workflow_of


class Paid(TypedDict, total=False):
    paid: bool
    total: int


def test_activities_are_asked_for_one_after_the_other(play: Play) -> None:
    async def code(ctx: Ctx) -> int:
        return await ctx.activity(add, await ctx.activity(add, 1, 2), b=10)

    run = play(workflow_of(code)).run(add)
    assert run.result == 13
    assert run.types == [
        "WORKFLOW_STARTED",
        "ACTIVITY_SCHEDULED",
        "ACTIVITY_COMPLETED",
        "ACTIVITY_SCHEDULED",
        "ACTIVITY_COMPLETED",
        "WORKFLOW_COMPLETED",
    ]


def test_commands_are_stamped_with_the_arrival_that_led_to_them(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(clean)

    run = play(workflow_of(code))
    started = run.now
    run.advance(5)
    run.complete("clean")
    assert [stamped.at - started for stamped in run.history] == [0, 0, 5_000_000, 5_000_000]


def test_steps_share_the_state_which_is_the_result(play: Play) -> None:
    @workflow
    class Steps(Workflow[int, Paid]):
        @step
        async def first(self, ctx: Any) -> None:
            await ctx.state.set("total", await ctx.activity(add, ctx.input, 1))

        @step
        async def second(self, ctx: Any) -> None:
            await ctx.state.set("paid", ctx.state["total"] > 1)

    assert play(Steps, 5).run(add).result == {"total": 6, "paid": True}


def test_each_run_has_an_object_of_its_own(play: Play) -> None:
    @workflow
    class Kept(Workflow[None, None]):
        def __init__(self) -> None:
            self.seen: list[int] = []

        async def run(self, ctx: Any) -> list[int]:
            self.seen.append(1)
            return self.seen

    assert play(Kept).result == play(Kept).result == [1]


def test_a_failed_activity_raises_where_it_is_awaited(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        with pytest.raises(ActivityFailedError) as caught:
            await ctx.activity(add, 1)
        error = caught.value
        assert "boom" in error.cause_traceback
        return [str(error), error.activity, error.attempts, error.cause_type, error.__cause__]

    run = play(workflow_of(code))
    run.deliver(run.failed("add", KeyError("boom"), attempt=3))
    message = "Activity 'add' was tried 3 times and failed: KeyError: 'boom'"
    assert run.result == [message, "add", 3, "KeyError", None]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FailureKind.ERROR, ActivityFailedError),
        (FailureKind.TIMEOUT, ActivityTimeoutError),
        (FailureKind.LOST, ActivityLostError),
    ],
)
def test_the_kind_of_a_failure_tells_the_error(
    play: Play, kind: FailureKind, error: type[ActivityFailedError]
) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            await ctx.activity(clean)
        except ActivityFailedError as failed:
            return type(failed).__name__
        return ""

    run = play(workflow_of(code))
    run.deliver(run.failed("clean", kind=kind))
    assert run.result == error.__name__


def test_an_error_that_nobody_catches_fails_the_run(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(add, 1)

    run = play(workflow_of(code))
    run.fail("add", ValueError("boom"))
    assert run.status is RunStatus.FAILED
    assert run.failure.type == "loom.errors.ActivityFailedError"
    assert "in code" in run.failure.traceback


def test_arguments_that_do_not_fit_are_refused_and_nothing_is_scheduled(play: Play) -> None:
    async def code(ctx: Ctx) -> list[str]:
        problems = []
        for arguments in [("one",), (), (1, 2, 3), (object(),)]:
            try:
                await ctx.activity(add, *arguments)  # type: ignore[arg-type]
            except PayloadError as error:
                problems.append(str(error))
        await ctx.activity(clean)
        return problems

    run = play(workflow_of(code))
    assert [scheduled.activity_id for scheduled in run.pending] == [1]
    run.complete("clean")
    assert len(run.result) == 4


def test_what_is_not_an_activity_is_refused(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(len, "x")

    assert "is not an activity" in play(workflow_of(code)).failure.message


def test_a_result_that_does_not_fit_its_type_raises_where_it_is_awaited(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            await ctx.activity(add, 1)
        except PayloadError as error:
            return str(error)
        return ""

    run = play(workflow_of(code))
    run.complete("add", "many")
    assert "declared as int cannot be read" in run.result


def test_a_result_that_cannot_be_stored_fails_the_run(play: Play) -> None:
    async def code(ctx: Ctx) -> object:
        return object()

    run = play(workflow_of(code))
    assert run.status is RunStatus.FAILED
    assert run.failure.type == "loom.errors.PayloadError"


def test_a_result_of_the_wrong_type_fails_the_run(play: Play) -> None:
    @workflow
    class Wrong(Workflow[None, None]):
        async def run(self, ctx: Any) -> int:
            return "many"  # type: ignore[return-value]

    assert "declared as int cannot be stored" in play(Wrong).failure.message


def test_an_activity_that_was_never_awaited_was_never_asked_for(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        asking = ctx.activity(clean)
        asking.close()

    assert play(workflow_of(code)).types == ["WORKFLOW_STARTED", "WORKFLOW_COMPLETED"]


def test_a_run_that_ends_leaves_its_background_tasks_behind(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        task = asyncio.create_task(ctx.activity(add, 1))
        await asyncio.sleep(0)
        assert not task.done()
        return "done"

    run = play(workflow_of(code))
    assert run.types == ["WORKFLOW_STARTED", "ACTIVITY_SCHEDULED", "WORKFLOW_COMPLETED"]
    assert run.result == "done"


def test_a_closed_run_waits_for_no_timer(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        asyncio.create_task(asyncio.sleep(50))  # noqa: RUF006
        await asyncio.sleep(0)

    run = play(workflow_of(code))
    assert run.status is RunStatus.COMPLETED
    assert run.instance.wake_at is None


def test_nothing_follows_the_end(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        pass

    run = play(workflow_of(code))
    length = len(run.history)
    run.signal("late")
    run.cancel()
    run.terminate()
    assert len(run.history) == length


def test_an_arrival_that_nobody_waits_for_is_left_out(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(clean)
        await ctx.activity(fetch, "x")

    run = play(workflow_of(code))
    again = run.completed("clean")
    run.deliver(again, again, TimerFired(99), ActivityCompleted(99, 1, b""))
    assert run.types.count("ACTIVITY_COMPLETED") == 1
    assert "TIMER_FIRED" not in run.types


def test_an_input_that_no_longer_fits_halts_the_run_and_records_nothing() -> None:
    async def code(ctx: Ctx) -> None: ...

    run = SimulatedRun(workflow_of(code, input_type=int))
    with pytest.raises(PayloadError, match="declared as int cannot be read"):
        run.deliver(WorkflowStarted("Written", "1", run.converter.encode("many")))
    assert run.history == []


def test_one_turn_with_many_arrivals_is_as_good_as_many_turns() -> None:
    async def code(ctx: Ctx) -> Any:
        return await asyncio.gather(*(ctx.activity(add, n) for n in range(3)))

    def play_it(together: bool) -> SimulatedRun:
        run = SimulatedRun(workflow_of(code)).start()
        converter = run.converter
        arrivals = [ActivityCompleted(n, 1, converter.encode(n * 10)) for n in (3, 1, 2)]
        if together:
            run.deliver(*arrivals)
        else:
            for arrival in arrivals:
                run.deliver(arrival)
        return run

    assert play_it(True).history == play_it(False).history
    assert play_it(True).result == [10, 20, 30]
