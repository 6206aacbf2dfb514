"""Postgres, through asyncpg: a transaction is one statement, and so one round trip."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks.subjects.limit.rows import SAVED_COLUMNS, Row, Rows
from benchmarks.subjects.limit.writer import Writer
from tests.databases import plain_dsn

_TYPES = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""

_STATEMENT = """
WITH new_runs AS (INSERT INTO workflows SELECT * FROM {new_runs}),
saved_runs AS (
    UPDATE workflows SET {assignments} FROM {saved_runs} WHERE workflows.run_key = saved.run_key
),
events AS (INSERT INTO events SELECT * FROM {events}),
finished_tasks AS (
    DELETE FROM tasks USING {finished_tasks}
    WHERE (tasks.run_key, tasks.activity_id) = (finished.run_key, finished.activity_id)
)
INSERT INTO tasks SELECT * FROM {new_tasks}
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """The statement, and how many columns each of its arrays of rows has."""

    statement: str
    widths: Sequence[int]

    def arguments(self, rows: Rows) -> Iterator[Sequence[Any]]:
        """The rows, turned into columns."""
        parts = rows.new_runs, rows.saved_runs, rows.events, rows.finished_tasks, rows.new_tasks
        for part, width in zip(parts, self.widths, strict=True):
            yield from _columns(part, width)


def _columns(rows: Sequence[Row], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) or [()] * width


class PostgresWriter(Writer):
    driver = "asyncpg"

    def __init__(self, connection: asyncpg.Connection, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout

    async def write(self, rows: Rows) -> None:
        # Outside of a transaction block it is one by itself.
        await self._connection.execute(self._layout.statement, *self._layout.arguments(rows))

    async def ask(self, query: str) -> Any:
        return await self._connection.fetchval(query)


async def _read_layout(connection: asyncpg.Connection) -> Layout:
    runs, events, tasks = [
        dict(await connection.fetch(_TYPES, table)) for table in ("workflows", "events", "tasks")
    ]
    saved = {name: runs[name] for name in (*SAVED_COLUMNS, "run_key")}
    finished = {name: tasks[name] for name in ("run_key", "activity_id")}
    parts = {
        "new_runs": (runs, "new"),
        "saved_runs": (saved, "saved"),
        "events": (events, "new"),
        "finished_tasks": (finished, "finished"),
        "new_tasks": (tasks, "new"),
    }
    tables: dict[str, str] = {}
    before = 0
    for name, (columns, alias) in parts.items():
        arrays = [
            f"${number}::{type}[]" for number, type in enumerate(columns.values(), before + 1)
        ]
        tables[name] = f"unnest({', '.join(arrays)}) AS {alias}({', '.join(columns)})"
        before += len(columns)
    assignments = ", ".join(f"{name} = saved.{name}" for name in SAVED_COLUMNS)
    statement = _STATEMENT.format(assignments=assignments, **tables)
    return Layout(statement, [len(columns) for columns, _ in parts.values()])


@asynccontextmanager
async def open_writer(dsn: str) -> AsyncIterator[Writer]:
    connection = await asyncpg.connect(plain_dsn(dsn))
    try:
        await connection.execute("SET synchronous_commit = on")
        yield PostgresWriter(connection, await _read_layout(connection))
    finally:
        await connection.close()
