"""Rows and events as people read them: from the store's records to what a handle shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from loom.errors import (
    HistoryError,
    PayloadError,
    WorkflowCancelledError,
    WorkflowExecutionError,
    WorkflowFailedError,
    WorkflowTerminatedError,
    WorkflowTimedOutError,
)
from loom.history.codec import plain_attributes
from loom.history.events import (
    Event,
    SignalReceived,
    UpdateRequested,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from loom.history.export import RunHistory
from loom.history.payloads import PayloadConverter
from loom.history.tags import TagValue, decode_tag
from loom.identifiers import Micros, RunId, WorkflowId
from loom.info import HistoryEvent, LogLine, PendingActivity, PendingMessage, WorkflowInfo
from loom.runner.transitions import event_of, message_event, read_last_failure
from loom.storage.records import EventRecord, InboxRecord, Labels, LogRecord, PendingTask, RunRecord

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def workflow_info(
    run: RunRecord,
    tasks: Sequence[PendingTask],
    messages: Sequence[InboxRecord],
    labels: Labels,
    *,
    now: Micros,
    converter: PayloadConverter,
) -> WorkflowInfo:
    """A run as people read it."""
    return WorkflowInfo(
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        name=run.name,
        version=run.version,
        queue=run.queue,
        status=run.status,
        created_at=_to_datetime(run.created_at),
        updated_at=_to_datetime(run.updated_at),
        closed_at=_optional_datetime(run.closed_at),
        wake_at=_optional_datetime(run.wake_at),
        history_length=run.sequence,
        blocked_reason=run.blocked_reason,
        worker=run.lease_owner,
        activities=[_pending_activity(task, now) for task in tasks],
        messages=[_pending_message(message) for message in messages],
        waiting_for_worker_since=_overdue_since(run.due_at, now),
        start_at=_optional_datetime(run.start_at),
        deadline=_optional_datetime(run.deadline),
        tags={name: _tag(text) for name, text in labels.tags.items()},
        memo=None if labels.memo is None else _value(labels.memo, converter),
        continued_from=run.continued_from,
        first_run_id=run.first_run_id or run.run_id,
        lost_owners=run.lost_owners,
    )


def _tag(text: str) -> TagValue:
    try:
        return decode_tag(text)
    except ValueError:
        return text


def _overdue_since(due_at: Micros | None, now: Micros) -> datetime | None:
    return None if due_at is None or due_at > now else _to_datetime(due_at)


def _pending_activity(task: PendingTask, now: Micros) -> PendingActivity:
    last_failure = None
    if task.last_failure is not None:
        failure = read_last_failure(task.last_failure)
        last_failure = f"{failure.type}: {failure.message}"
    due_at = task.available_at if task.lease_owner is None else task.lease_expires_at
    return PendingActivity(
        activity_id=task.activity_id,
        name=task.name,
        queue=task.queue,
        attempt=task.attempt,
        failures=task.failures,
        available_at=_to_datetime(task.available_at),
        worker=task.lease_owner,
        last_failure=last_failure,
        waiting_for_worker_since=_overdue_since(due_at, now),
        is_parked=task.parked_until is not None and task.lease_owner is None,
    )


def _pending_message(message: InboxRecord) -> PendingMessage:
    try:
        event = message_event(message)
    except HistoryError:
        return PendingMessage(message.arrival.type)
    name = event.name if isinstance(event, SignalReceived | UpdateRequested) else None
    return PendingMessage(event.type, name)


def history_event(record: EventRecord, converter: PayloadConverter) -> HistoryEvent:
    """An event as people read it, even when it is damaged: they look at it to see why."""
    return HistoryEvent(
        sequence=record.sequence,
        recorded_at=_to_datetime(record.recorded_at),
        type=record.type,
        attributes=_attributes(record),
        value=None if record.payload is None else _value(record.payload, converter),
        has_value=record.payload is not None,
    )


def exported(run: RunRecord, records: Sequence[EventRecord]) -> RunHistory:
    """A run and its history, apart from the store."""
    return RunHistory(
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        name=run.name,
        version=run.version,
        queue=run.queue,
        status=run.status,
        events=tuple(records),
    )


def log_line(log: LogRecord) -> LogLine:
    """A line of a run's log as people read it."""
    return LogLine(log.position, _to_datetime(log.logged_at), log.level, log.message)


def _attributes(record: EventRecord) -> dict[str, Any]:
    try:
        return plain_attributes(event_of(record))
    except HistoryError as error:
        return {"unreadable": str(error)}


def _value(payload: bytes, converter: PayloadConverter) -> Any:
    try:
        return json.loads(converter.unwrap(payload))[1]
    except (PayloadError, ValueError, LookupError, TypeError) as error:
        return {"unreadable": str(error)}


def execution_error(final: Event, workflow_id: WorkflowId, run_id: RunId) -> WorkflowExecutionError:
    """The error that awaiting a run raises when it ended so."""
    if isinstance(final, WorkflowFailed):
        failure = final.failure
        return WorkflowFailedError(
            f"Workflow {workflow_id!r} failed: {failure.type}: {failure.message}",
            workflow_id=workflow_id,
            run_id=run_id,
            cause_type=failure.type,
            cause_message=failure.message,
            cause_traceback=failure.traceback,
        )
    reason = final.reason if isinstance(final, WorkflowCancelled | WorkflowTerminated) else ""
    because = f": {reason}" if reason else "."
    if isinstance(final, WorkflowCancelled):
        return WorkflowCancelledError(
            f"Workflow {workflow_id!r} was cancelled{because}",
            workflow_id=workflow_id,
            run_id=run_id,
        )
    if isinstance(final, WorkflowTimedOut):
        whose = "the time of its whole chain" if final.of_chain else "its time"
        return WorkflowTimedOutError(
            f"Workflow {workflow_id!r} did not end before {whose} was up.",
            workflow_id=workflow_id,
            run_id=run_id,
        )
    return WorkflowTerminatedError(
        f"Workflow {workflow_id!r} was terminated{because}", workflow_id=workflow_id, run_id=run_id
    )


def _to_datetime(moment: Micros) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=moment)
    except OverflowError:
        raise HistoryError(f"A stored time is damaged: no calendar holds {moment} us.") from None


def _optional_datetime(moment: Micros | None) -> datetime | None:
    return None if moment is None else _to_datetime(moment)
