"""SQLite, through aiosqlite: one hop to its thread for each transaction or for each statement."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite

from benchmarks.subjects.limit.rows import SAVED_COLUMNS, Row, Rows
from benchmarks.subjects.limit.writer import Writer

_SAVE = f"UPDATE workflows SET {', '.join(f'{c} = ?' for c in SAVED_COLUMNS)} WHERE run_key = ?"
_FINISH = "DELETE FROM tasks WHERE run_key = ? AND activity_id = ?"


class SqliteWriter(Writer):
    driver = "aiosqlite"

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def write(self, rows: Rows) -> None:
        # Private, but the only way to have a whole transaction run on the thread; Loom goes it too.
        execute: Any = self._connection._execute
        await execute(_write, self._connection._conn, rows)

    async def ask(self, query: str) -> Any:
        async with self._connection.execute(query) as cursor:
            [value] = await cursor.fetchone() or (None,)
            return value


class AwaitedSqliteWriter(SqliteWriter):
    async def write(self, rows: Rows) -> None:
        await self._connection.execute("BEGIN IMMEDIATE")
        for statement, many in _statements(rows):
            await self._connection.executemany(statement, many)
        await self._connection.commit()


def _write(connection: sqlite3.Connection, rows: Rows) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement, many in _statements(rows):
        connection.executemany(statement, many)
    connection.execute("COMMIT")


def _statements(rows: Rows) -> Iterator[tuple[str, list[Row]]]:
    statements = (
        _insert("workflows", rows.new_runs),
        (_SAVE, rows.saved_runs),
        _insert("events", rows.events),
        (_FINISH, rows.finished_tasks),
        _insert("tasks", rows.new_tasks),
    )
    return ((statement, many) for statement, many in statements if many)


def _insert(table: str, rows: list[Row]) -> tuple[str, list[Row]]:
    places = ", ".join("?" * len(rows[0])) if rows else ""
    return f"INSERT INTO {table} VALUES ({places})", rows


@asynccontextmanager
async def open_writer(dsn: str, *, is_awaited: bool) -> AsyncIterator[Writer]:
    path = dsn.removeprefix("sqlite:///")
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await connection.execute("PRAGMA journal_mode = WAL")
        await connection.execute("PRAGMA synchronous = FULL")
        yield (AwaitedSqliteWriter if is_awaited else SqliteWriter)(connection)
