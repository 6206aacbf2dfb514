"""A run from elsewhere, as a store takes it: its row, tasks and timer, told from its history.

Only the events are read. The run's code need not be here: what it waits for is what it asked for
and was not answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from loom.errors import HistoryFormatError, WorkflowAlreadyStartedError
from loom.given import check_id
from loom.history.events import (
    FINAL_STATUS,
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    Stamped,
    TagsSet,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    WorkflowStarted,
    WorkflowTerminated,
)
from loom.history.export import RunHistory
from loom.history.status import RunStatus
from loom.identifiers import END_OF_TIME, Micros, WorkflowId, new_id
from loom.runner.transitions import event_records, new_task, stamped_event
from loom.storage.records import Effects, EventRecord, NewRun, StartOutcome

_TERMINATED: Final = (
    "It was open where it was exported. It was terminated here when it was imported, so that no "
    "worker goes on with it."
)

type Events = Sequence[tuple[int, Stamped]]


def imported_run(
    history: RunHistory, workflow_id: WorkflowId, *, now: Micros, stays_open: bool
) -> NewRun:
    """The run as it is to be written.

    Raises ``HistoryFormatError`` when no run can have that history, ``HistoryError`` when one of
    its events is unknown, and ``PayloadError`` when an id or name cannot be stored.
    """
    _check_storable(history.events)
    events = [stamped_event(record) for record in history.events]
    _check(history, events)
    if not history.status.is_open:
        effects = Effects(history.status, now, events=history.events)
    elif stays_open:
        effects = _open_effects(history, events, now)
    else:
        effects = _ended_effects(history, now)
    started = next((s.event for _, s in events if isinstance(s.event, WorkflowStarted)), None)
    memo = None if started is None or started.memo is None else started.memo.encode()
    return NewRun(
        workflow_id=check_id("workflow id", workflow_id),
        run_id=check_id("run id", history.run_id),
        name=check_id("workflow name", history.name),
        version=check_id("version", history.version),
        queue=check_id("queue", history.queue),
        effects=replace(effects, tags=_tags(events)),
        # It has had its turns: without an owner it would be taken for one that waits for its first.
        owner=new_id(),
        memo=memo,
        deadline=_deadline(events),
    )


def check_imported(outcome: StartOutcome, new: NewRun) -> None:
    """Raises ``WorkflowAlreadyStartedError`` when something else was in the run's place."""
    run = outcome.run
    if not outcome.created:
        raise WorkflowAlreadyStartedError(
            f"The workflow id {new.workflow_id!r} is taken by an open run of {run.name!r} "
            f"({run.run_id}). Import the history under another id."
        )
    if run.workflow_id != new.workflow_id:
        raise WorkflowAlreadyStartedError(
            f"Run {run.run_id} is in this database already, as workflow {run.workflow_id!r}. A run "
            "keeps its run id, on which its random numbers rest: import it into another database."
        )


def _tags(events: Events) -> dict[str, str | None]:
    tags: dict[str, str | None] = {}
    for _, stamped in events:
        if isinstance(event := stamped.event, WorkflowStarted | TagsSet):
            tags |= event.tags or {}
    return {name: value for name, value in tags.items() if value is not None}


# --- what a run waits for ------------------------------------------------------------------------


def _open_effects(history: RunHistory, events: Events, now: Micros) -> Effects:
    """A BLOCKED run is imported RUNNING and due at once, so that a worker tries it again; and so is
    one whose activities have deadlines, or are its owner's to run."""
    pending = _pending(events)
    is_due = history.status is RunStatus.BLOCKED or any(
        e.local or e.schedule_to_start is not None or e.schedule_to_close is not None
        for _, e in pending
    )
    due = now if is_due else None
    tasks = [new_task(event, sequence, at=now) for sequence, event in pending if not event.local]
    return Effects(
        RunStatus.RUNNING,
        now,
        events=history.events,
        tasks=tasks,
        wake_at=min(filter(None, [due, _next_timer(events), _deadline(events)]), default=None),
    )


def _ended_effects(history: RunHistory, now: Micros) -> Effects:
    at = max(now, history.events[-1].recorded_at)
    ended = Stamped(WorkflowTerminated(_TERMINATED), at)
    records = [*history.events, *event_records([ended], len(history.events))]
    return Effects(RunStatus.TERMINATED, now, events=records)


def _pending(events: Events) -> list[tuple[int, ActivityScheduled]]:
    """Activities that were asked for and not answered: to be run as for the first time."""
    pending: dict[int, tuple[int, ActivityScheduled]] = {}
    for sequence, stamped in events:
        event = stamped.event
        if isinstance(event, ActivityScheduled):
            pending[event.activity_id] = sequence, event
        elif isinstance(event, ActivityCompleted | ActivityFailed | ActivityCancelRequested):
            pending.pop(event.activity_id, None)
    return list(pending.values())


def _deadline(events: Events) -> Micros | None:
    """When the run's time is up, if it has a limit."""
    started = (s.event for _, s in events if isinstance(s.event, WorkflowStarted))
    return next((e.limits.deadline for e in started if e.limits is not None), None)


def _next_timer(events: Events) -> Micros | None:
    running: dict[int, Micros] = {}
    for _, stamped in events:
        event = stamped.event
        if isinstance(event, TimerStarted):
            running[event.timer_id] = event.fire_at
        elif isinstance(event, TimerFired | TimerCancelled):
            running.pop(event.timer_id, None)
    return min(running.values(), default=None)


# --- what a file may have wrong ------------------------------------------------------------------


def _check(history: RunHistory, events: Events) -> None:
    if not events:
        raise HistoryFormatError(
            "The history has no events: no worker had taken the run's first turn when it was "
            "exported. Start it anew instead."
        )
    for sequence, stamped in events[:-1]:
        if type(stamped.event) in FINAL_STATUS:
            raise HistoryFormatError(
                f"Event {sequence}, {stamped.event.type}, ends the run, and others follow."
            )
    last = events[-1][1].event
    # An open run's status is no event, so that there is nothing to compare it with.
    ended = FINAL_STATUS.get(type(last))
    if ended is not (None if history.status.is_open else history.status):
        raise HistoryFormatError(
            f"The history says that the run is {history.status}, and its last event is {last.type}."
        )


def _check_storable(records: Sequence[EventRecord]) -> None:
    seen: set[str] = set()
    for record in records:
        if not 0 <= record.recorded_at <= END_OF_TIME:
            raise HistoryFormatError(f"Event {record.sequence} has an impossible time.")
        if record.message_id is not None:
            if record.message_id in seen:
                raise HistoryFormatError(
                    f"Event {record.sequence} came from the message {record.message_id!r}, which "
                    "an earlier event came from."
                )
            seen.add(record.message_id)
