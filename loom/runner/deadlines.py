"""Deadlines of activities that have passed, against what has become of their tasks."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

from loom.history.events import ActivityFailed, ArrivalEvent
from loom.runner.local_calls import LocalCalls
from loom.runner.transitions import read_last_failure
from loom.storage.records import PendingTask
from loom.timeouts import TimeoutType


def are_deadlines_due(due: Sequence[ArrivalEvent]) -> bool:
    """Whether the tasks must be looked at before this is delivered."""
    return any(isinstance(event, ActivityFailed) for event in due)


def really_due(
    due: Sequence[ArrivalEvent],
    tasks: Sequence[PendingTask],
    local: Container[int] = (),
    calls: LocalCalls | None = None,
) -> list[ArrivalEvent]:
    """Without the deadlines that were kept: the task is gone, with its outcome on the way to the
    run, or it was begun in time. Local activities, whose ids are given, have no tasks; ``calls``
    are those that have been begun here."""
    by_id = {task.activity_id: task for task in tasks}
    checked: list[ArrivalEvent] = []
    for event in due:
        if not isinstance(event, ActivityFailed):
            checked.append(event)
        elif event.activity_id in local:
            if calls is None:
                # Its time ran out before anybody took the run over.
                checked.append(event)
            elif (attempt := calls.attempt(event.activity_id)) is not None:
                checked.append(replace(event, attempt=attempt))
        elif (task := by_id.get(event.activity_id)) and _has_passed(event, task):
            checked.append(_told(event, task))
    return checked


def _has_passed(event: ActivityFailed, task: PendingTask) -> bool:
    return event.timeout is not TimeoutType.SCHEDULE_TO_START or task.start_by is not None


def _told(event: ActivityFailed, task: PendingTask) -> ActivityFailed:
    """With what is known of the attempts."""
    failure = event.failure
    if task.last_failure is not None:
        last = read_last_failure(task.last_failure)
        told = f"{failure.message}; before that it failed: {last.type}: {last.message}"
        failure = replace(failure, message=told, traceback=last.traceback)
    return replace(event, attempt=task.attempt, failure=failure)
