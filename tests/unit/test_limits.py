"""When a run's code begins, and when its time is up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loom.history.events import (
    TimerFired,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from loom.history.limits import RunLimits, limits
from loom.history.status import RunStatus
from loom.identifiers import END_OF_TIME
from tests.engine_harness import EPOCH, Play
from tests.unit.workflows import Ctx, clean, workflow_of

SECOND = 1_000_000


def ending_in(seconds: int) -> RunLimits:
    return RunLimits(EPOCH + seconds * SECOND, seconds * SECOND)


async def waiting(ctx: Ctx) -> Any:
    return await ctx.wait_for_signal("go")


async def cleaning(ctx: Ctx) -> None:
    try:
        await ctx.sleep(3600)
    finally:
        await ctx.activity(clean)


# --- time is up ----------------------------------------------------------------------------------


def test_a_run_ends_when_its_time_is_up(play: Play) -> None:
    run = play(workflow_of(waiting), limits=ending_in(60))
    assert run.instance.wake_at == EPOCH + 60 * SECOND
    run.advance(59)
    assert run.status is RunStatus.RUNNING
    run.advance(1)
    assert (run.status, run.events[-1]) == (RunStatus.TIMED_OUT, WorkflowTimedOut())


def test_it_is_told_that_the_time_of_the_chain_was_up(play: Play) -> None:
    end = EPOCH + 5 * SECOND
    run = play(workflow_of(waiting), limits=RunLimits(end, 60 * SECOND, end))
    run.advance(5)
    assert run.events[-1] == WorkflowTimedOut(of_chain=True)


def test_the_code_has_no_say_in_it(play: Play) -> None:
    run = play(workflow_of(cleaning), limits=ending_in(60))
    run.advance(60)
    assert (run.status, run.pending) == (RunStatus.TIMED_OUT, [])


def test_an_earlier_timer_wakes_the_run_and_a_later_one_does_not(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await asyncio.gather(ctx.sleep(10), ctx.sleep(60), ctx.sleep(70))

    run = play(workflow_of(code), limits=ending_in(60))
    assert run.instance.wake_at == EPOCH + 10 * SECOND
    run.now += 1000 * SECOND
    due = run.instance.take_due(run.now)
    # Whoever looks late finds what would have been found in time.
    assert due == [TimerFired(1), TimerFired(2), WorkflowTimedOut()]
    run.deliver(*due)
    assert run.status is RunStatus.TIMED_OUT


def test_what_arrives_with_the_end_of_the_time_is_taken_before(play: Play) -> None:
    run = play(workflow_of(waiting), limits=ending_in(60))
    run.now += 61 * SECOND
    run.deliver(run.signalled("go", 5), *run.instance.take_due(run.now))
    assert run.result == 5


def test_a_run_that_has_ended_does_not_time_out(play: Play) -> None:
    run = play(workflow_of(waiting), limits=ending_in(60))
    run.signal("go")
    assert isinstance(run.events[-1], WorkflowCompleted)
    assert run.instance.wake_at is None


# --- not yet begun -------------------------------------------------------------------------------


def test_code_that_is_to_begin_later_is_not_begun_for_a_cancel(play: Play) -> None:
    run = play(workflow_of(cleaning), start_at=EPOCH + 60 * SECOND)
    run.cancel("not needed")
    assert run.types == ["WORKFLOW_STARTED", "WORKFLOW_CANCEL_REQUESTED", "WORKFLOW_CANCELLED"]
    assert run.events[-1] == WorkflowCancelled("not needed")
    assert run.status is RunStatus.CANCELLED


def test_code_that_is_to_begin_later_is_not_begun_for_a_termination(play: Play) -> None:
    run = play(workflow_of(cleaning), start_at=EPOCH + 60 * SECOND)
    run.terminate("enough")
    assert run.events[1:] == [WorkflowTerminated("enough")]


def test_code_begins_when_its_start_is_taken_in_time(play: Play) -> None:
    run = play(workflow_of(cleaning), start_at=EPOCH)
    assert run.types[1] == "TIMER_STARTED"


# --- how long ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run_timeout", "execution_deadline", "deadline"),
    [(5, None, 15), (None, 20, 20), (5, 20, 15), (50, 20, 20), (END_OF_TIME, None, END_OF_TIME)],
)
def test_the_first_of_two_limits_counts(
    run_timeout: int | None, execution_deadline: int | None, deadline: int
) -> None:
    found = limits(10, run_timeout, execution_deadline)
    assert found == RunLimits(deadline, run_timeout, execution_deadline)


def test_without_limits_there_are_none() -> None:
    assert limits(10, None, None) is None


def test_the_next_run_has_its_own_time_and_what_is_left_of_the_chains() -> None:
    assert RunLimits(15, 5, 22).of_next(14) == RunLimits(19, 5, 22)
    assert RunLimits(15, 5, 22).of_next(19) == RunLimits(22, 5, 22)
