"""Finding, listing and deleting runs, and reading what happened to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loom.identifiers import MessageId, RunId, RunKey, WorkflowId
from loom.storage.records import (
    Answer,
    Arrival,
    EventRecord,
    InboxRecord,
    LogRecord,
    PendingTask,
    RunRecord,
)
from loom.storage.sql.locks import lock_runs
from loom.storage.sql.rows import event_record, inbox_record, run_record
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Query, Transaction


def find_run(
    s: Statements, workflow_id: WorkflowId, run_id: RunId | None
) -> Transaction[RunRecord | None]:
    """The run with that run id, or the newest one with that workflow id, as an open one is."""
    parameters = {"workflow_id": workflow_id, "run_id": run_id}
    statement = s.runs.find_one if run_id is None else s.runs.find_one_by_run_id
    found = map(run_record, (yield Query(statement, parameters)))
    return min(found, key=lambda run: run.closed_at is not None, default=None)


def find_answer(s: Statements, chain: RunId, message_id: MessageId) -> Transaction[Answer | None]:
    """What a run of the chain has answered to the message."""
    rows = yield Query(s.history.find_answer, {"chain": chain, "message_id": message_id})
    return Answer(message_id, Arrival(*rows[0])) if rows else None


def list_tasks(s: Statements, run_key: RunKey) -> Transaction[list[PendingTask]]:
    """The activity tasks that a run is waiting for."""
    rows = yield Query(s.tasks.list, {"key": run_key})
    return [PendingTask(*row) for row in rows]


def list_messages(s: Statements, run_key: RunKey) -> Transaction[list[InboxRecord]]:
    """What waits in a run's inbox."""
    rows = yield Query(s.history.read_inboxes, {"keys": s.array([run_key])})
    return [inbox_record(row) for row in rows]


def read_history(
    s: Statements, run_key: RunKey, after: int, limit: int
) -> Transaction[list[EventRecord]]:
    """A page of a run's events."""
    page = {"key": run_key, "after": after, "limit": limit}
    rows = yield Query(s.history.read_events, page)
    return [event_record(row) for row in rows]


def read_beginnings(
    s: Statements, run_keys: Sequence[RunKey], through: int
) -> Transaction[list[list[EventRecord]]]:
    """The first events of runs."""
    events: dict[RunKey, list[EventRecord]] = {key: [] for key in run_keys}
    rows = yield Query(
        s.history.read_beginnings, {"keys": s.array(sorted(events)), "through": through}
    )
    for key, *event in rows:
        events[key].append(event_record(event))
    return [events[key] for key in run_keys]


def read_logs(
    s: Statements, run_key: RunKey, after: int, limit: int
) -> Transaction[list[LogRecord]]:
    """A page of a run's log."""
    page = {"key": run_key, "after": after, "limit": limit}
    rows = yield Query(s.history.read_logs, page)
    return [LogRecord(*row) for row in rows]


# --- deleting ------------------------------------------------------------------------------------


def delete_runs(s: Statements, run_keys: Iterable[RunKey]) -> Transaction[int]:
    """Delete those that are closed, with all that belongs to them."""
    runs = yield from lock_runs(s, set(run_keys))
    closed = [run.run_key for run in runs if not run.is_open]
    if closed:
        for statement in s.runs.deletes:
            yield Query(statement, {"keys": s.array(closed)})
    return len(closed)
