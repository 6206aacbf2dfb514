"""Starting, finding, listing and deleting runs, and reading what happened to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, Final

from loom.errors import StoreUnavailableError
from loom.identifiers import RunId, RunKey, WorkflowId
from loom.storage.records import (
    EventRecord,
    LogRecord,
    NewRun,
    PendingTask,
    RunRecord,
    StartOutcome,
)
from loom.storage.sql.changes import Changes, own_messages
from loom.storage.sql.rows import RunState, born, event_record, run_record
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Many, Query, Transaction
from loom.storage.sql.writes import begin, lock_runs

_PATIENCE: Final = 10


def start_runs(s: Statements, runs: Sequence[NewRun]) -> Transaction[list[StartOutcome]]:
    """Create runs, unless the same one or an open one of their workflow id is there."""
    messages = [
        message
        for run in runs
        for message in run.effects.messages
        # Its own, which need not be found.
        if message.workflow_id != run.workflow_id
    ]
    changes = yield from begin(s, (), messages)
    outcomes: dict[RunId, StartOutcome] = {}
    missing = list(runs)
    # A run that is born closed takes no place in the index of open ones, so it has to look first.
    look = any(not run.effects.status.is_open for run in runs)
    for _ in range(len(runs) + _PATIENCE):
        if look:
            outcomes |= yield from _find_standing(s, missing)
            missing = [run for run in missing if run.run_id not in outcomes]
        if not missing:
            yield from changes.flush(s)
            return [outcomes[run.run_id] for run in runs]
        outcomes |= yield from _insert(s, changes, missing)
        missing = [run for run in missing if run.run_id not in outcomes]
        # What was in the way of an insert may be gone when it is looked for: then try again.
        look = True
    raise StoreUnavailableError("runs of the same workflow ids keep starting and ending")


def _find_standing(s: Statements, runs: Sequence[NewRun]) -> Transaction[dict[RunId, StartOutcome]]:
    """What stands where these would: they themselves, or open runs of their workflow ids."""
    parameters = {
        "run_ids": s.array([run.run_id for run in runs]),
        "workflow_ids": s.array([run.workflow_id for run in runs]),
    }
    rows = yield Query(s.runs.find_standing, parameters)
    records = [run_record(row) for row in rows]
    same = {record.run_id: record for record in records}
    open_ones = {record.workflow_id: record for record in records if record.closed_at is None}
    outcomes = {}
    for run in runs:
        if run.run_id in same:
            outcomes[run.run_id] = StartOutcome(same[run.run_id], created=True)
        elif run.workflow_id in open_ones:
            outcomes[run.run_id] = StartOutcome(open_ones[run.workflow_id], created=False)
    return outcomes


def _insert(
    s: Statements, changes: Changes, runs: Sequence[NewRun]
) -> Transaction[dict[RunId, StartOutcome]]:
    """Insert the first run of each workflow id, as far as nothing is in its way."""
    firsts = {run.workflow_id: run for run in reversed(runs)}
    # In one order, since two inserts of the same workflow id wait for each other.
    states = [_first_turn(firsts[workflow_id]) for workflow_id in sorted(firsts)]
    rows = yield Many(s.runs.insert, [_row(state) for state in states], returning=True)
    keys: dict[RunId, RunKey] = {row[0]: row[1] for row in rows}
    outcomes = {}
    for state in states:
        if state.run_id in keys:
            state.run_key = keys[state.run_id]
            outcomes[state.run_id] = StartOutcome(state.record(), created=True)
            changes.start(state, firsts[state.workflow_id])
    return outcomes


def _first_turn(new: NewRun) -> RunState:
    state = born(new)
    state.apply(new.effects, new.owner or "")
    if state.is_open:
        for _ in own_messages(new):
            state.receive(new.effects.recorded_at)
    return state


def _row(state: RunState) -> dict[str, Any]:
    row = {name: getattr(state, name) for name in _COLUMNS}
    row["status"] = state.status.value
    return row


_COLUMNS: Final = [field.name for field in fields(RunState) if field.name != "run_key"]


# --- looking -------------------------------------------------------------------------------------


def find_run(
    s: Statements, workflow_id: WorkflowId, run_id: RunId | None
) -> Transaction[RunRecord | None]:
    """The run with that run id, or the newest one with that workflow id."""
    parameters = {"workflow_id": workflow_id, "run_id": run_id}
    statement = s.runs.find_one if run_id is None else s.runs.find_one_by_run_id
    rows = yield Query(statement, parameters)
    return run_record(rows[0]) if rows else None


def list_tasks(s: Statements, run_key: RunKey) -> Transaction[list[PendingTask]]:
    """The activity tasks that a run is waiting for."""
    rows = yield Query(s.tasks.list, {"key": run_key})
    return [PendingTask(*row) for row in rows]


def read_history(
    s: Statements, run_key: RunKey, after: int, limit: int
) -> Transaction[list[EventRecord]]:
    """A page of a run's events."""
    page = {"key": run_key, "after": after, "limit": limit}
    rows = yield Query(s.history.read_events, page)
    return [event_record(row) for row in rows]


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
