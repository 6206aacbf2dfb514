"""What a run asks for when it has children, and that it asks for the same on replay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from loom.history.events import (
    ChildCancelRequested,
    ChildCompleted,
    ChildFailed,
    ChildStarted,
    SignalSent,
)
from loom.history.failures import Failure
from loom.history.relatives import ChildRun, ParentClosePolicy
from loom.history.status import RunStatus
from tests.engine_harness import Play

type Context = loom.WorkflowContext[Any, Any]


@loom.workflow
class Child(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        return ctx.input


@loom.workflow
class Waits(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.child(Child, 1, id=ctx.input)


@loom.workflow
class Both(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return list(await asyncio.gather(ctx.child(Child, 1), ctx.child(Child, 2)))


@loom.workflow
class Shares(loom.Workflow[Any, Any]):
    """Several wait for one child, and one of them gives up."""

    async def run(self, ctx: Context) -> Any:
        child = await ctx.start_child(Child, 1)
        try:
            async with asyncio.timeout(5):
                await child.result()
        except TimeoutError:
            pass
        first, second = await asyncio.gather(child.result(), child.result())
        await child.cancel()
        return [first, second, await child.result()]


@loom.workflow
class TimesOut(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        try:
            async with asyncio.timeout(5):
                await ctx.child(Child, 1)
        except TimeoutError:
            return "too late"
        return "in time"


@loom.workflow
class Bad(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        await ctx.child(Child, "three")  # type: ignore[arg-type]
        return ""


def test_children_are_asked_for_in_order_and_answer_in_any(play: Play) -> None:
    run = play(Both)
    first, second = run.children
    run.deliver(run.child_completed("Child", 10))
    run.deliver(run.child_completed("Child", 20))
    assert run.result == [10, 20]
    assert (first.child_id, second.child_id) == (1, 2)
    assert first.workflow_id == f"the-workflow/1-{first.run_id[:8]}"
    run.check_replay()


def test_a_child_is_the_same_however_often_its_parent_is_played(play: Play) -> None:
    assert play(Both).children == play(Both).children


def test_an_outcome_that_nobody_waits_for_is_left_out(play: Play) -> None:
    run = play(Both)
    outcome = run.child_completed("Child", 10)
    run.deliver(outcome, outcome)
    assert run.types.count("CHILD_COMPLETED") == 1
    run.check_replay()


def test_who_awaits_a_child_outlives_the_one_it_has_cancelled(play: Play) -> None:
    run = play(TimesOut)
    run.advance(5)
    [cancel] = [e for e in run.events if isinstance(e, ChildCancelRequested)]
    assert cancel.run_id == run.children[0].run_id
    assert run.status is RunStatus.RUNNING
    run.deliver(run.child_failed("Child", RunStatus.CANCELLED))
    assert run.result == "too late"
    run.check_replay()


def test_a_result_that_comes_after_the_cancel_does_not_undo_it(play: Play) -> None:
    run = play(TimesOut)
    run.advance(5)
    run.deliver(run.child_completed("Child", 1))
    assert run.result == "too late"
    run.check_replay()


def test_a_second_cancel_waits_no_longer(play: Play) -> None:
    run = play(TimesOut)
    run.advance(5)
    decision = run.deliver(loom.history.events.WorkflowCancelRequested("now"))
    assert run.status is RunStatus.CANCELLED
    child = next(e for e in run.events if isinstance(e, ChildStarted))
    policy = ParentClosePolicy.TERMINATE
    assert decision.relatives.children == (ChildRun(child.workflow_id, child.run_id, policy),)
    run.check_replay()


def test_each_wait_for_a_child_can_be_cancelled_by_itself(play: Play) -> None:
    run = play(Shares)
    run.advance(5)
    assert not [e for e in run.events if isinstance(e, ChildCancelRequested)]
    run.deliver(run.child_completed("Child", 7))
    assert run.result == [7, 7, 7]
    assert not [e for e in run.events if isinstance(e, ChildCancelRequested)]
    run.check_replay()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (RunStatus.FAILED, "ChildWorkflowFailedError"),
        (RunStatus.CANCELLED, "ChildWorkflowCancelledError"),
        (RunStatus.TERMINATED, "ChildWorkflowTerminatedError"),
        (None, "ChildWorkflowNotStartedError"),
    ],
)
def test_a_child_that_did_not_complete_raises_what_became_of_it(
    play: Play, status: RunStatus | None, error: str
) -> None:
    run = play(Waits, "the-child")
    run.deliver(run.child_failed("Child", status, why="because"))
    assert run.failure.type == f"loom.errors.{error}"
    assert "'the-child'" in run.failure.message
    assert "because" in run.failure.message
    run.check_replay()


def test_an_input_that_does_not_fit_starts_no_child(play: Play) -> None:
    run = play(Bad)
    assert run.failure.type == "loom.errors.PayloadError"
    assert "CHILD_STARTED" not in run.types


@pytest.mark.parametrize("workflow_id", ["", "a\0b", "x" * 300, 7])
def test_an_id_that_no_store_can_hold_is_refused(play: Play, workflow_id: Any) -> None:
    run = play(Waits, workflow_id)
    if workflow_id == "":
        assert run.failure.type == "loom.errors.PayloadError"
    assert run.status is RunStatus.FAILED
    assert "CHILD_STARTED" not in run.types


def test_an_unknown_policy_is_refused(play: Play) -> None:
    @loom.workflow
    class Unknown(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> None:
            await ctx.start_child(Child, 1, parent_close_policy="forget")  # type: ignore[call-overload]

    run = play(Unknown)
    assert run.failure.type == "loom.errors.ConfigurationError"
    assert "'forget'; there are: terminate, cancel, abandon" in run.failure.message
    assert "CHILD_STARTED" not in run.types


def test_signals_to_others_are_recorded(play: Play) -> None:
    @loom.workflow
    class Sends(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> None:
            child = await ctx.start_child(Child, 1, id="c", parent_close_policy="abandon")
            await child.signal("to child", 1)
            await ctx.signal_workflow("other", "to other", 2)

    run = play(Sends)
    to_child, to_other = [e for e in run.events if isinstance(e, SignalSent)]
    [started] = [e for e in run.events if isinstance(e, ChildStarted)]
    assert (to_child.workflow_id, to_child.run_id) == ("c", started.run_id)
    assert (to_other.workflow_id, to_other.run_id) == ("other", None)
    run.check_replay()


def test_what_others_cannot_be_told_is_refused(play: Play) -> None:
    @loom.workflow
    class Tells(loom.Workflow[Any, Any]):
        async def run(self, ctx: Any) -> list[str]:
            child = await ctx.start_child(Child, 1)
            refusals = []
            for tell in (
                lambda: child.cancel(reason=5),
                lambda: child.signal("a\0b"),
                lambda: ctx.cancel_workflow("other", reason=5),
                lambda: ctx.cancel_workflow("other", run_id="\ud800"),
                lambda: ctx.cancel_workflow(5),
                lambda: ctx.signal_workflow("other", "go", run_id=""),
                lambda: ctx.child(Child, 1, queue="x" * 256),
            ):
                try:
                    await tell()
                except loom.PayloadError as refusal:
                    refusals.append(str(refusal).split(" is ")[0].split(" holds ")[0])
            return refusals

    run = play(Tells)
    assert run.types == ["WORKFLOW_STARTED", "CHILD_STARTED", "WORKFLOW_COMPLETED"]
    queue = f"The queue '{'x' * 56}..."
    assert run.result == [
        "The reason 5",
        "The signal name 'a\\x00b'",
        "The reason 5",
        "The run id '\\ud800'",
        "The workflow id 5",
        "The run id ''",
        queue,
    ]
    run.check_replay()


# --- those of an earlier run of the chain ---

INHERITED = (
    ChildRun("first", "1" * 32, ParentClosePolicy.TERMINATE),
    ChildRun("second", "2" * 32, ParentClosePolicy.ABANDON),
)


@loom.workflow
class GoesOn(loom.Workflow[Any, Any]):
    """Waits for the children of the run before it, once it has done something else."""

    async def run(self, ctx: Context) -> Any:
        await ctx.wait_for_signal("go")
        second = ctx.inherited_child("second")
        try:
            return [await ctx.inherited_child("first", Child).result(), await second.result()]
        except loom.ChildWorkflowError as error:
            return [type(error).__name__, error.workflow, error.workflow_id, str(error)]


@pytest.mark.parametrize("is_early", [True, False])
def test_inherited_children_are_awaited_like_ones_own(play: Play, is_early: bool) -> None:
    run = play(GoesOn, children=INHERITED)
    ends = [
        ChildCompleted(1, "1" * 32, run.converter.encode(5)),
        ChildCompleted(2, "2" * 32, run.converter.encode("done")),
    ]
    if is_early:
        run.deliver(*ends)
        run.signal("go")
    else:
        run.signal("go")
        run.deliver(ends[0])
        run.deliver(ends[1])
    assert run.result == [5, "done"]
    run.check_replay()


def test_the_failure_of_an_inherited_child_is_raised_where_it_is_awaited(play: Play) -> None:
    run = play(GoesOn, children=INHERITED)
    failure = Failure("ValueError", "no")
    run.deliver(ChildFailed(1, "1" * 32, failure, RunStatus.FAILED))
    run.signal("go")
    assert run.result == [
        "ChildWorkflowFailedError",
        "Child",
        "first",
        "Child 'first' (Child) failed: ValueError: no",
    ]
    run.check_replay()


def test_an_inherited_child_is_cancelled_and_told(play: Play) -> None:
    @loom.workflow
    class CallsOff(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> None:
            child = ctx.inherited_child("first", Child)
            await child.signal("news", 1)
            await child.cancel(reason="enough")

    run = play(CallsOff, children=INHERITED)
    sent, asked = (e for e in run.commands if isinstance(e, SignalSent | ChildCancelRequested))
    assert isinstance(sent, SignalSent)
    assert sent.run_id == "1" * 32
    assert asked == ChildCancelRequested(0, "first", "1" * 32, "enough")
    run.check_replay()


def test_a_child_that_was_not_open_then_is_unknown(play: Play) -> None:
    @loom.workflow
    class Asks(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> str:
            own = await ctx.start_child("Other")
            with pytest.raises(loom.DefinitionError, match="there were: 'first', 'second'"):
                ctx.inherited_child(own.workflow_id)
            return "asked"

    assert play(Asks, children=INHERITED).result == "asked"


def test_who_inherits_and_goes_on_again_hands_on_what_is_open(play: Play) -> None:
    @loom.workflow
    class Chain(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> None:
            await ctx.wait_for_signal("go")
            ctx.continue_as_new()

    run = play(Chain, children=INHERITED)
    run.deliver(ChildCompleted(1, "1" * 32, run.converter.encode(5)))
    decision = run.deliver(run.signalled("go"))
    assert decision.relatives.children == INHERITED[1:]
