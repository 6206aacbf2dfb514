"""Postgres, through asyncpg: one round trip for each transaction or for each statement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks.subjects.limit.rows import SAVED_COLUMNS, Rows
from benchmarks.subjects.limit.writer import Writer
from tests.databases import plain_dsn

_TYPES = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""

_STATEMENTS = {
    "new_runs": "INSERT INTO workflows SELECT * FROM {rows}",
    "saved_runs": "UPDATE workflows SET {assignments} FROM {rows} "
    "WHERE workflows.run_key = given.run_key",
    "events": "INSERT INTO events SELECT * FROM {rows}",
    "finished_tasks": "DELETE FROM tasks USING {rows} "
    "WHERE (tasks.run_key, tasks.activity_id) = (given.run_key, given.activity_id)",
    "new_tasks": "INSERT INTO tasks SELECT * FROM {rows}",
}
"""For each part of the rows."""


@dataclass(frozen=True, slots=True)
class Part:
    """A statement that takes rows as arrays, one for each column."""

    name: str
    statement: str
    types: Mapping[str, str]

    def sql(self, before: int = 0) -> str:
        """The statement, its parameters numbered after so many others."""
        numbered = enumerate(self.types.values(), before + 1)
        arrays = ", ".join(f"${number}::{type}[]" for number, type in numbered)
        rows = f"unnest({arrays}) AS given({', '.join(self.types)})"
        assignments = ", ".join(f"{name} = given.{name}" for name in SAVED_COLUMNS)
        return self.statement.format(rows=rows, assignments=assignments)

    def columns(self, rows: Rows) -> Sequence[Sequence[Any]]:
        """Its rows, turned into columns."""
        return list(zip(*getattr(rows, self.name), strict=True)) or [()] * len(self.types)


class PostgresWriter(Writer):
    driver = "asyncpg"

    def __init__(self, connection: asyncpg.Connection, parts: Sequence[Part]) -> None:
        self._connection = connection
        self._parts = parts
        self._together = _in_one_statement(parts)

    async def write(self, rows: Rows) -> None:
        # Outside of a transaction block it is one by itself.
        columns = [column for part in self._parts for column in part.columns(rows)]
        await self._connection.execute(self._together, *columns)

    async def ask(self, query: str) -> Any:
        return await self._connection.fetchval(query)


class AwaitedPostgresWriter(PostgresWriter):
    async def write(self, rows: Rows) -> None:
        async with self._connection.transaction():
            for part in self._parts:
                if getattr(rows, part.name):
                    await self._connection.execute(part.sql(), *part.columns(rows))


def _in_one_statement(parts: Sequence[Part]) -> str:
    *others, last = parts
    before = 0
    named = []
    for part in others:
        named.append(f"{part.name} AS ({part.sql(before)})")
        before += len(part.types)
    return f"WITH {', '.join(named)} {last.sql(before)}"


async def _read_parts(connection: asyncpg.Connection) -> list[Part]:
    runs, events, tasks = [
        dict(await connection.fetch(_TYPES, table)) for table in ("workflows", "events", "tasks")
    ]
    types = {
        "new_runs": runs,
        "saved_runs": {name: runs[name] for name in (*SAVED_COLUMNS, "run_key")},
        "events": events,
        "finished_tasks": {name: tasks[name] for name in ("run_key", "activity_id")},
        "new_tasks": tasks,
    }
    return [Part(name, statement, types[name]) for name, statement in _STATEMENTS.items()]


@asynccontextmanager
async def open_writer(dsn: str, *, is_awaited: bool) -> AsyncIterator[Writer]:
    connection = await asyncpg.connect(plain_dsn(dsn))
    try:
        await connection.execute("SET synchronous_commit = on")
        parts = await _read_parts(connection)
        yield (AwaitedPostgresWriter if is_awaited else PostgresWriter)(connection, parts)
    finally:
        await connection.close()
