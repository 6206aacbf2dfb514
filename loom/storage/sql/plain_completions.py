"""Attempts that are over for good, each of another run: on Postgres in one statement."""

from __future__ import annotations

from collections.abc import Sequence

from loom.storage.records import ActivityCompletion
from loom.storage.sql.changes import TaskKey
from loom.storage.sql.dialects import Row
from loom.storage.sql.inserts import carried
from loom.storage.sql.transactions import Database, Query


def are_plain(completions: Sequence[ActivityCompletion]) -> bool:
    """Whether each tells another run."""
    runs = {done.run_key for done in completions}
    return len(runs) == len(completions) and all(done.arrival for done in completions)


async def complete_plainly(
    database: Database, completions: Sequence[ActivityCompletion]
) -> set[TaskKey]:
    """The tasks whose ends are written. Others are mostly lost, or the database does not take them
    so."""
    at_once = database.statements.completions_at_once
    if at_once is None:
        return set()
    rows = {"ends": [_row(done) for done in completions]}
    written = await database.write_at_once(Query(at_once.write, rows))
    return {(run_key, activity_id) for run_key, activity_id in written}


def _row(done: ActivityCompletion) -> Row:
    """As ``COMPLETION_ROW`` has it."""
    assert done.arrival is not None
    which = done.run_key, done.activity_id, done.token, done.now
    return (*which, message_id_of(done), *carried(done.arrival))


def message_id_of(done: ActivityCompletion) -> str:
    """Of the message that tells a run of an activity's end."""
    return f"activity:{done.activity_id}"
