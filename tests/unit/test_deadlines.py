"""A run's own deadlines for its activities: what is counted, from when, and what comes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import loom
from loom.history.events import ActivityFailed, ActivityScheduled
from loom.runner.deadlines import are_deadlines_due, really_due
from loom.storage.records import PendingTask
from loom.timeouts import TimeoutType
from tests.engine_harness import EPOCH, Play, SimulatedRun

type Context = loom.WorkflowContext[Any, Any]

SECOND = 1_000_000


@loom.activity(schedule_to_start_timeout=5, schedule_to_close_timeout=timedelta(seconds=60))
async def held_to_time() -> str:
    return "done"


@loom.workflow
class Patient(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        try:
            return await ctx.activity(held_to_time)
        except loom.ActivityTimeoutError as error:
            return f"{error.timeout}: {error}"


@pytest.fixture
def run() -> Iterator[SimulatedRun]:
    """Not compared with its replay, which has been given nothing out."""
    run = SimulatedRun(Patient).start()
    yield run
    run.close()


def test_a_run_wakes_for_the_first_deadline_and_gives_the_activity_up(play: Play) -> None:
    run = play(Patient)
    assert run.instance.wake_at == EPOCH + 5 * SECOND
    run.advance(5)
    assert run.result == (
        "schedule_to_start: Activity 'held_to_time' was never tried and failed: TimeoutError: "
        "no worker began with it for 5 s"
    )
    run.check_replay()


def test_once_it_has_begun_the_other_deadline_is_left(play: Play) -> None:
    run = play(Patient)
    run.instance.activity_begun(1)
    assert run.instance.wake_at == EPOCH + 60 * SECOND
    run.advance(60)
    assert run.result.startswith("schedule_to_close: ")
    assert "it took longer than 60 s in all" in run.result


def test_deadlines_count_from_the_recorded_moment_of_asking(play: Play) -> None:
    run = play(Patient)
    again = run.replay()
    assert again.wake_at == EPOCH + 5 * SECOND
    again.unwind()


def test_recorded_deadlines_hold_when_the_code_has_others(run: SimulatedRun) -> None:
    asked = next(e for e in run.events if isinstance(e, ActivityScheduled))
    recorded = replace(asked, schedule_to_start=None, schedule_to_close=7 * SECOND)
    run.history = [replace(s, event=recorded) if s.event is asked else s for s in run.history]
    again = run.replay()
    assert again.wake_at == EPOCH + 7 * SECOND
    again.unwind()


def test_an_outcome_in_time_ends_the_waiting(play: Play) -> None:
    run = play(Patient)
    run.advance(4)
    run.complete("held_to_time", "in time")
    assert run.result == "in time"
    run.check_replay()


def test_a_deadline_is_given_out_once(run: SimulatedRun) -> None:
    due = run.instance.take_due(EPOCH + 99 * SECOND)
    assert [e.timeout for e in due if isinstance(e, ActivityFailed)] == [
        TimeoutType.SCHEDULE_TO_START,
        TimeoutType.SCHEDULE_TO_CLOSE,
    ]
    assert run.instance.take_due(EPOCH + 99 * SECOND) == []
    assert run.instance.wake_at is None


def test_the_first_of_timers_and_deadlines_wakes_the_run(play: Play) -> None:
    @loom.workflow
    class Both(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> Any:
            try:
                async with asyncio.timeout(3):
                    return await ctx.activity(held_to_time)
            except TimeoutError:
                return "its own"

    run = play(Both)
    assert run.instance.wake_at == EPOCH + 3 * SECOND
    run.advance(100)
    assert run.result == "its own"
    assert run.types.count("ACTIVITY_FAILED") == 0
    run.check_replay()


def test_many_activities_have_their_own_deadlines(play: Play) -> None:
    @loom.workflow
    class Many(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> list[str]:
            calls = [
                loom.with_options(held_to_time, schedule_to_start_timeout=seconds)
                for seconds in (9, 1, 5)
            ]
            outcomes = await asyncio.gather(
                *(ctx.activity(call) for call in calls), return_exceptions=True
            )
            return [str(ctx.now()), *(type(outcome).__name__ for outcome in outcomes)]

    run = play(Many)
    run.advance(1)
    assert [e.activity_id for e in run.events if isinstance(e, ActivityFailed)] == [2]
    run.advance(4)
    assert [e.activity_id for e in run.events if isinstance(e, ActivityFailed)] == [2, 3]
    run.deliver(run.completed("held_to_time", "x"))
    assert run.result[1:] == ["str", "ActivityTimeoutError", "ActivityTimeoutError"]
    run.check_replay()


# --- against what has become of the tasks --------------------------------------------------------


def due(run: SimulatedRun, seconds: int) -> list[ActivityFailed]:
    taken = run.instance.take_due(EPOCH + seconds * SECOND)
    assert are_deadlines_due(taken)
    return [event for event in taken if isinstance(event, ActivityFailed)]


PENDING = PendingTask(1, "held_to_time", "default", 0, 0, EPOCH, None, None, None)


def test_a_task_that_nobody_began_has_missed_its_start(run: SimulatedRun) -> None:
    [event] = really_due(due(run, 5), [replace(PENDING, start_by=EPOCH)])
    assert isinstance(event, ActivityFailed)
    assert (event.timeout, event.attempt) == (TimeoutType.SCHEDULE_TO_START, 0)


def test_a_task_that_was_begun_has_not(run: SimulatedRun) -> None:
    assert really_due(due(run, 5), [replace(PENDING, attempt=1)]) == []


@pytest.mark.parametrize("seconds", [5, 60])
def test_a_task_that_is_over_has_missed_nothing(run: SimulatedRun, seconds: int) -> None:
    """Its outcome waits in the inbox."""
    assert really_due(due(run, seconds), []) == []


def test_a_task_that_took_too_long_tells_of_its_attempts(run: SimulatedRun) -> None:
    last = {"activity_id": 1, "attempt": 2, "failure": {"type": "ValueError", "message": "no"}}
    failure = json.dumps(last).encode()
    task = replace(PENDING, attempt=3, failures=2, last_failure=failure)
    [event] = really_due(due(run, 60), [task])
    assert isinstance(event, ActivityFailed)
    assert (event.timeout, event.attempt) == (TimeoutType.SCHEDULE_TO_CLOSE, 3)
    assert event.failure.message.endswith("before that it failed: ValueError: no")
