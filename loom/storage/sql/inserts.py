"""What the port's records are as rows of their tables, each in the order of its columns."""

from __future__ import annotations

from loom.identifiers import MessageId, Micros, RunKey, WorkerId
from loom.storage.records import Answer, Arrival, EventRecord, LogRecord, NewTask
from loom.storage.sql.dialects import Row


def event_row(run_key: RunKey, event: EventRecord) -> Row:
    return (
        run_key,
        event.sequence,
        event.type,
        event.schema_version,
        event.recorded_at,
        event.attributes,
        event.payload,
        event.message_id,
    )


def task_row(
    run_key: RunKey, task: NewTask, owner: WorkerId, lease_expires_at: Micros | None
) -> Row:
    key = run_key, task.activity_id, task.sequence, task.name, task.queue, task.available_at
    if not task.leased:
        return (*key, task.available_at, 0, 0, None, 0, None, None, None, task.start_by, None)
    due_at = task.available_at if lease_expires_at is None else lease_expires_at
    return (*key, due_at, 1, 0, owner, 1, lease_expires_at, None, None, None, None)


def message_row(run_key: RunKey, position: int, message_id: MessageId, arrival: Arrival) -> Row:
    return run_key, position, message_id, *_carried(arrival)


def answer_row(run_key: RunKey, answer: Answer, now: Micros) -> Row:
    return run_key, answer.message_id, now, *_carried(answer.content)


def log_row(run_key: RunKey, line: LogRecord) -> Row:
    return run_key, line.position, line.logged_at, line.level, line.message


def _carried(arrival: Arrival) -> Row:
    return arrival.type, arrival.schema_version, arrival.attributes, arrival.payload
