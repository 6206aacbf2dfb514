"""Cancelling reaches the code as ``CancelledError``, once, and it may clean up first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from loom.history.events import (
    ActivityCancelRequested,
    WorkflowCancelled,
    WorkflowTerminated,
)
from loom.history.status import RunStatus
from tests.engine_harness import Play
from tests.unit.workflows import Ctx, add, clean, fetch, workflow_of


def test_a_cancelled_run_ends_as_cancelled_with_the_reason(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(add, 1)

    run = play(workflow_of(code))
    run.cancel("changed my mind")
    assert run.status is RunStatus.CANCELLED
    assert run.events[-3].type == "WORKFLOW_CANCEL_REQUESTED"
    assert run.events[-2:] == [ActivityCancelRequested(1), WorkflowCancelled("changed my mind")]


def test_the_code_sees_the_reason(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            await ctx.sleep(50)
        except asyncio.CancelledError as error:
            return str(error)
        return ""

    run = play(workflow_of(code))
    run.cancel("closing time")
    assert run.result == "closing time"


@pytest.mark.parametrize("reason", ["", "closing time"])
def test_activities_in_finally_run_before_the_run_ends(play: Play, reason: str) -> None:
    async def code(ctx: Ctx) -> None:
        try:
            await ctx.sleep(50)
        finally:
            await ctx.activity(clean)
            await ctx.sleep(5)
            await ctx.state.set("cleaned", True)

    run = play(workflow_of(code))
    run.cancel(reason)
    assert run.status is RunStatus.RUNNING
    run.complete("clean")
    run.advance(5)
    assert run.events[-1] == WorkflowCancelled(reason)
    assert run.types[2:] == [
        "WORKFLOW_CANCEL_REQUESTED",
        "TIMER_CANCELLED",
        "ACTIVITY_SCHEDULED",
        "ACTIVITY_COMPLETED",
        "TIMER_STARTED",
        "TIMER_FIRED",
        "STATE_SET",
        "WORKFLOW_CANCELLED",
    ]


def test_code_that_swallows_the_cancellation_completes(play: Play) -> None:
    async def code(ctx: Ctx) -> int:
        try:
            await ctx.sleep(50)
        except asyncio.CancelledError:
            return await ctx.activity(add, 1)
        return 0

    run = play(workflow_of(code))
    run.cancel()
    run.complete("add", 1)
    assert run.result == 1


def test_code_that_fails_while_cleaning_up_fails(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        try:
            await ctx.sleep(50)
        finally:
            await ctx.activity(clean)

    run = play(workflow_of(code))
    run.cancel()
    run.fail("clean")
    assert run.failure.type == "loom.errors.ActivityFailedError"


def test_a_second_cancellation_is_ignored(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        try:
            await ctx.sleep(50)
        finally:
            await ctx.activity(clean)

    run = play(workflow_of(code))
    run.cancel("first")
    run.cancel("second")
    run.complete("clean")
    assert run.events[-1] == WorkflowCancelled("first")
    assert run.types.count("WORKFLOW_CANCEL_REQUESTED") == 1


def test_a_cancellation_in_the_turn_of_the_start_is_heeded(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        await ctx.activity(fetch, "x")
        return "never"

    run = play(workflow_of(code))
    run.deliver(run.completed("fetch", "X"))
    run.cancel("too late")
    assert run.result == "never"


def test_every_branch_of_a_gather_is_cancelled(play: Play) -> None:
    cleaned = []

    async def branch(ctx: Ctx, number: int) -> None:
        try:
            await ctx.activity(add, number)
        finally:
            cleaned.append(number)

    async def code(ctx: Ctx) -> None:
        await asyncio.gather(*(branch(ctx, number) for number in range(3)))

    run = play(workflow_of(code))
    run.cancel()
    assert run.status is RunStatus.CANCELLED
    assert run.types.count("ACTIVITY_CANCEL_REQUESTED") == 3
    assert cleaned == [0, 1, 2]


def test_a_task_group_cleans_up_before_the_run_ends(play: Play) -> None:
    async def branch(ctx: Ctx, number: int) -> None:
        try:
            await ctx.sleep(50)
        finally:
            await ctx.activity(add, number)

    async def code(ctx: Ctx) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(2):
                group.create_task(branch(ctx, number))

    run = play(workflow_of(code))
    run.cancel()
    assert [scheduled.name for scheduled in run.pending] == ["add", "add"]
    run.complete("add", 1)
    assert run.status is RunStatus.RUNNING
    run.complete("add", 1)
    assert run.status is RunStatus.CANCELLED


def test_timeouts_and_groups_work_while_a_cancelled_run_cleans_up(play: Play) -> None:
    async def cleaning(ctx: Ctx) -> list[str]:
        trace = []
        try:
            async with asyncio.timeout(5):
                await ctx.activity(clean)
        except TimeoutError:
            trace.append("timed out")
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.activity(add, 1))
        trace.append("grouped")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.activity(fetch, "x"))
        except* Exception as failures:
            trace.append(f"{len(failures.exceptions)} failed")
        return trace

    async def code(ctx: Ctx) -> Any:
        try:
            await ctx.sleep(50)
        except asyncio.CancelledError:
            await ctx.state.set("trace", await cleaning(ctx))
            raise

    run = play(workflow_of(code))
    run.cancel()
    run.advance(5)
    run.complete("add", 1)
    run.fail("fetch")
    assert run.status is RunStatus.CANCELLED
    [payload] = [event.payload_bytes for event in run.events if event.type == "STATE_SET"]
    assert run.converter.decode(payload or b"") == ["timed out", "grouped", "1 failed"]


def test_a_timeout_around_the_cancelled_wait_does_not_take_the_cancellation(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        async with asyncio.timeout(10):
            await ctx.activity(clean)

    run = play(workflow_of(code))
    run.cancel()
    assert run.status is RunStatus.CANCELLED
    assert run.types[-3:] == ["ACTIVITY_CANCEL_REQUESTED", "TIMER_CANCELLED", "WORKFLOW_CANCELLED"]


def test_a_wait_for_a_signal_can_be_cancelled(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        try:
            await ctx.wait_for_signal("go")
        except asyncio.CancelledError:
            return await ctx.wait_for_signal("go")

    run = play(workflow_of(code))
    run.cancel()
    run.signal("go", 5)
    assert run.result == 5


def test_cancelling_an_activity_s_task_asks_for_its_end(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        asking = asyncio.create_task(ctx.activity(add, 1))
        await asyncio.sleep(0)
        asking.cancel()
        try:
            await asking
        except asyncio.CancelledError:
            await ctx.activity(clean)
        return "done"

    run = play(workflow_of(code))
    assert run.types[1:] == [
        "ACTIVITY_SCHEDULED",
        "ACTIVITY_CANCEL_REQUESTED",
        "ACTIVITY_SCHEDULED",
    ]
    run.complete("clean")
    assert run.result == "done"


def test_the_outcome_of_a_cancelled_activity_is_left_out(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            async with asyncio.timeout(1):
                await ctx.activity(add, 1)
        except TimeoutError:
            await ctx.activity(clean)
        return "done"

    run = play(workflow_of(code))
    late = run.completed("add", 1)
    run.advance(1)
    run.deliver(late)
    run.complete("clean")
    assert run.result == "done"
    assert run.types.count("ACTIVITY_COMPLETED") == 1


def test_code_that_cancels_itself_unasked_fails(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await ctx.sleep(1)

    assert "cancelled itself, unasked" in play(workflow_of(code)).failure.message


def test_uncancelled_code_goes_on_as_if_nothing_had_been(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        task = asyncio.current_task()
        assert task is not None
        try:
            await ctx.sleep(50)
        except asyncio.CancelledError:
            task.uncancel()
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.activity(clean))
        return "done"

    run = play(workflow_of(code))
    run.cancel()
    run.complete("clean")
    assert run.result == "done"


@pytest.mark.parametrize("reason", ["", "closing time"])
def test_the_code_can_ask_whether_and_why_it_was_cancelled(play: Play, reason: str) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        seen: list[Any] = [ctx.cancel_requested, ctx.cancel_reason]
        try:
            await ctx.sleep(50)
        except asyncio.CancelledError:
            await ctx.activity(clean)
        return [*seen, ctx.cancel_requested, ctx.cancel_reason]

    run = play(workflow_of(code))
    run.cancel(reason)
    run.cancel("another")
    run.complete("clean")
    assert run.result == [False, None, True, reason]


# --- terminated ---


def test_a_terminated_run_ends_at_once_and_its_code_has_no_say(play: Play) -> None:
    ended = []

    async def code(ctx: Ctx) -> None:
        try:
            await ctx.activity(add, 1)
        finally:
            ended.append(True)
            await ctx.activity(clean)
            ended.append("never")

    run = play(workflow_of(code))
    run.terminate("enough")
    assert run.status is RunStatus.TERMINATED
    assert run.events[-1] == WorkflowTerminated("enough")
    assert run.types == ["WORKFLOW_STARTED", "ACTIVITY_SCHEDULED", "WORKFLOW_TERMINATED"]
    assert ended == [True]


def test_a_run_that_is_cleaning_up_can_be_terminated(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        try:
            await ctx.sleep(50)
        finally:
            await ctx.activity(clean)

    run = play(workflow_of(code))
    run.cancel()
    run.terminate()
    assert run.status is RunStatus.TERMINATED


@pytest.mark.parametrize(("goes_on", "status"), [(True, "CANCELLED"), (False, "COMPLETED")])
def test_a_cancellation_that_comes_while_handlers_finish(
    play: Play, goes_on: bool, status: str
) -> None:
    """It is not lost with the run that was to follow; a result that is there holds."""

    @loom.workflow
    class Talking(loom.Workflow[Any, Any]):
        async def run(self, ctx: Ctx) -> int:
            if goes_on:
                await ctx.wait_for_signal("go on")
                ctx.continue_as_new()
            await ctx.wait_for_signal("go on")
            return 1

        @loom.signal
        async def take_long(self) -> None:
            await asyncio.sleep(1_000)

    run = play(Talking)
    run.signal("take_long")
    run.signal("go on")
    assert run.status is RunStatus.RUNNING
    run.cancel("enough")
    assert run.status == status
    run.check_replay()
