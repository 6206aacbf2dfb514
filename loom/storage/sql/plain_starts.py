"""Runs that are started for themselves alone, as most are: on Postgres in one statement."""

from __future__ import annotations

from collections.abc import Sequence

from loom.history.status import RunStatus
from loom.identifiers import RunId
from loom.storage.records import NewRun, StartOutcome
from loom.storage.sql.dialects import Row
from loom.storage.sql.inserts import event_row, message_row, task_row
from loom.storage.sql.rows import RunState, born
from loom.storage.sql.transactions import Database, Query


def are_plain(runs: Sequence[NewRun]) -> bool:
    """Whether they have to do with no other runs, nor with each other."""
    ids, workflow_ids = {new.run_id for new in runs}, {new.workflow_id for new in runs}
    return len(ids) == len(workflow_ids) == len(runs) and all(map(_is_plain, runs))


def _is_plain(new: NewRun) -> bool:
    effects = new.effects
    if new.refused_after or new.continues is not None or new.memo is not None or effects.starts:
        return False
    if effects.tags or effects.logs or effects.answers or effects.status is not RunStatus.RUNNING:
        return False
    return len(new.own_messages) == len(effects.messages)


async def start_plain_runs(database: Database, runs: Sequence[NewRun]) -> dict[RunId, StartOutcome]:
    """Those that are created. Others have something in their way, which is to be looked at, or the
    database does not take them so."""
    at_once = database.statements.starts_at_once
    if at_once is None:
        return {}
    # Ids are taken in one order.
    ordered = sorted(runs, key=lambda new: new.workflow_id)
    states = [_first_turn(new) for new in ordered]
    rows = await database.write_at_once(Query(at_once.write, _tables(ordered, states)))
    keys = {row[0]: row[1] for row in rows}
    outcomes = {}
    for state in states:
        if state.run_id in keys:
            state.run_key = keys[state.run_id]
            outcomes[state.run_id] = StartOutcome(state.record(), created=True)
    return outcomes


def _first_turn(new: NewRun) -> RunState:
    state = born(new)
    state.apply(new.effects, new.owner or "")
    for _ in new.effects.messages:
        state.receive(new.effects.recorded_at)
    return state


def _tables(runs: Sequence[NewRun], states: Sequence[RunState]) -> dict[str, list[Row]]:
    """With run ids in the place of keys, which there are none of yet."""
    return {
        "runs": [state.new_row() for state in states],
        "events": [event_row(new.run_id, e) for new in runs for e in new.effects.events],
        "tasks": [
            task_row(new.run_id, task, new.owner or "", new.effects.task_lease_expires_at)
            for new in runs
            for task in new.effects.tasks
        ],
        "inbox": [
            message_row(new.run_id, position, message.message_id, message.arrival)
            for new in runs
            for position, message in enumerate(new.own_messages, 1)
        ],
    }
