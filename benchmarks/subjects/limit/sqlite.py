"""SQLite, through Python's own module: a transaction is one function on the writer's thread."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from benchmarks.subjects.limit.rows import SAVED_COLUMNS, Row, Rows
from benchmarks.subjects.limit.writer import Writer

_SAVE = f"UPDATE workflows SET {', '.join(f'{c} = ?' for c in SAVED_COLUMNS)} WHERE run_key = ?"
_FINISH = "DELETE FROM tasks WHERE run_key = ? AND activity_id = ?"


class SqliteWriter(Writer):
    driver = None

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    async def write(self, rows: Rows) -> None:
        await self._run(partial(self._write, rows))

    async def ask(self, query: str) -> Any:
        return await self._run(lambda: self._connection.execute(query).fetchone()[0])

    async def _run[T](self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _write(self, rows: Rows) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._insert("workflows", rows.new_runs)
        self._many(_SAVE, rows.saved_runs)
        self._insert("events", rows.events)
        self._many(_FINISH, rows.finished_tasks)
        self._insert("tasks", rows.new_tasks)
        self._connection.execute("COMMIT")

    def _insert(self, table: str, rows: Sequence[Row]) -> None:
        if rows:
            places = ", ".join("?" * len(rows[0]))
            self._many(f"INSERT INTO {table} VALUES ({places})", rows)

    def _many(self, statement: str, rows: Sequence[Row]) -> None:
        if rows:
            self._connection.executemany(statement, rows)


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@asynccontextmanager
async def open_writer(dsn: str) -> AsyncIterator[Writer]:
    with ThreadPoolExecutor(1) as thread:
        connection = thread.submit(_connect, dsn.removeprefix("sqlite:///")).result()
        try:
            yield SqliteWriter(connection, thread)
        finally:
            thread.submit(connection.close).result()
