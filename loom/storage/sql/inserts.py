"""What the port's records are as rows of their tables, each in the order of its columns."""

from __future__ import annotations

from loom.identifiers import MessageId, Micros, RunId, RunKey, WorkerId
from loom.storage.records import Answer, Arrival, EventRecord, LogRecord, NewTask
from loom.storage.sql.dialects import Row

type Key = RunKey | RunId
"""A run's key; or its id, where the database puts the key in its place."""


def event_row(key: Key, event: EventRecord) -> Row:
    return (
        key,
        event.sequence,
        event.type,
        event.schema_version,
        event.recorded_at,
        event.attributes,
        event.payload,
        event.message_id,
    )


def task_row(key: Key, task: NewTask, owner: WorkerId, lease_expires_at: Micros | None) -> Row:
    what = key, task.activity_id, task.sequence, task.name, task.queue, task.available_at
    if not task.leased:
        return (*what, task.available_at, 0, 0, None, 0, None, None, None, task.start_by, None)
    due_at = task.available_at if lease_expires_at is None else lease_expires_at
    return (*what, due_at, 1, 0, owner, 1, lease_expires_at, None, None, None, None)


def message_row(key: Key, position: int, message_id: MessageId, arrival: Arrival) -> Row:
    return key, position, message_id, *carried(arrival)


def answer_row(key: Key, answer: Answer, now: Micros) -> Row:
    return key, answer.message_id, now, *carried(answer.content)


def log_row(key: Key, line: LogRecord) -> Row:
    return key, line.position, line.logged_at, line.level, line.message


def carried(arrival: Arrival) -> Row:
    """What an arrival is to its tables."""
    return arrival.type, arrival.schema_version, arrival.attributes, arrival.payload
