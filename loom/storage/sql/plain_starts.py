"""Runs that are started for themselves alone, as most are: without a look at what is there first.

Postgres takes a batch of them in one statement.
"""

from __future__ import annotations

from collections.abc import Sequence

from loom.history.status import RunStatus
from loom.identifiers import RunId
from loom.storage.records import NewRun, StartOutcome
from loom.storage.sql.dialects import Row
from loom.storage.sql.inserts import Key, event_row, message_row, task_row
from loom.storage.sql.rows import RunState, born
from loom.storage.sql.statements import Statements
from loom.storage.sql.statements.starts import StartsAtOnce
from loom.storage.sql.transactions import Database, Many, Query, Transaction, Unmatched


def are_plain(runs: Sequence[NewRun]) -> bool:
    """Whether they have to do with no other runs, nor with each other."""
    ids, workflow_ids = {new.run_id for new in runs}, {new.workflow_id for new in runs}
    return len(ids) == len(workflow_ids) == len(runs) and all(map(_is_plain, runs))


def _is_plain(new: NewRun) -> bool:
    effects = new.effects
    if new.refused_after or new.unless_heard is not None or new.continues is not None:
        return False
    if new.memo is not None or effects.starts:
        return False
    if effects.tags or effects.logs or effects.answers or effects.status is not RunStatus.RUNNING:
        return False
    return len(new.own_messages) == len(effects.messages)


async def start_plain_runs(database: Database, runs: Sequence[NewRun]) -> dict[RunId, StartOutcome]:
    """Those that are created. Others have something in their way, which is to be looked at."""
    # Ids are taken in one order.
    ordered = sorted(runs, key=lambda new: new.workflow_id)
    states = [_first_turn(new) for new in ordered]
    if database.statements.starts_at_once is not None:
        states = await _start_at_once(database, database.statements.starts_at_once, ordered, states)
    else:
        try:
            await database.write(_start_in_steps(database.statements, ordered, states))
        except Unmatched:
            return {}
    return {state.run_id: StartOutcome(state.record(), created=True) for state in states}


def _first_turn(new: NewRun) -> RunState:
    state = born(new)
    state.apply(new.effects, new.owner or "")
    for _ in new.effects.messages:
        state.receive(new.effects.recorded_at)
    return state


async def _start_at_once(
    database: Database,
    statements: StartsAtOnce,
    runs: Sequence[NewRun],
    states: Sequence[RunState],
) -> list[RunState]:
    """As many as can be, which are given their keys."""
    # The statement puts keys in the place of run ids.
    tables = _tables(runs, [new.run_id for new in runs])
    tables["runs"] = [state.new_row() for state in states]
    rows = await database.write_at_once(Query(statements.write, tables))
    keys = {row[0]: row[1] for row in rows}
    started = [state for state in states if state.run_id in keys]
    for state in started:
        state.run_key = keys[state.run_id]
    return started


def _start_in_steps(
    s: Statements, runs: Sequence[NewRun], states: Sequence[RunState]
) -> Transaction[None]:
    """All of them, or none. Who writes to SQLite is alone, so keys can be given out here."""
    last = yield Query(s.runs.last_key)
    for key, state in enumerate(states, last[0][0] + 1 if last else 1):
        state.run_key = key
    yield Many(s.runs.insert_keyed, [state.row() for state in states], each=True)
    tables = _tables(runs, [state.run_key for state in states])
    for statement, rows in (
        (s.history.insert_event, tables["events"]),
        (s.tasks.insert, tables["tasks"]),
        (s.history.insert_message, tables["inbox"]),
    ):
        if rows:
            yield Many(statement, rows)


def _tables(runs: Sequence[NewRun], keys: Sequence[Key]) -> dict[str, list[Row]]:
    """What belongs to the runs."""
    keyed = list(zip(keys, runs, strict=True))
    return {
        "events": [event_row(key, event) for key, new in keyed for event in new.effects.events],
        "tasks": [
            task_row(key, task, new.owner or "", new.effects.task_lease_expires_at)
            for key, new in keyed
            for task in new.effects.tasks
        ],
        "inbox": [
            message_row(key, position, message.message_id, message.arrival)
            for key, new in keyed
            for position, message in enumerate(new.own_messages, 1)
        ],
    }
