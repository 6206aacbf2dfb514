"""The stores of the simulation: the reference, and the real SQL on SQLite."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Collection, Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loom.history.status import RunStatus
from loom.identifiers import Micros, WorkflowId
from loom.storage.memory import MemoryRepository
from loom.storage.records import RunRecord
from loom.storage.repository import Repository
from loom.storage.sql import migrations
from loom.storage.sql.dsn import SqliteDsn
from loom.storage.sql.failures import DRIVER_ERRORS, store_error
from loom.storage.sql.repository import SqlRepository
from loom.storage.sql.sqlite import SqliteDatabase
from loom.storage.sql.sqlite import _run as run_transaction
from loom.storage.sql.transactions import Transaction
from tests.databases import run_apart
from tests.simulation.loop import SimulatedLoop


class Tier(StrEnum):
    MEMORY = "a"
    """The reference store."""
    SQL = "b"
    """The SQL of the real store, on SQLite."""


@dataclass(slots=True)
class Break:
    """That a transaction is to fail."""

    left: int
    """How many more statements are carried out."""
    has_failed: bool = False


class SimulatedStore(ABC):
    """A store whose calls end at once, whoever drives them."""

    repository: Repository

    @abstractmethod
    def is_at_rest(self, excused: Collection[WorkflowId]) -> bool:
        """Whether every run has ended, but for those."""

    has_statements = False
    """Whether it has transactions that can fail between two of them."""

    @contextmanager
    def breaking(self, after: int) -> Iterator[Break]:
        """Let the block's transaction fail after so many statements, if it has as many."""
        yield Break(after)

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds."""

    def drive[T](self, call: Coroutine[Any, Any, T]) -> T:
        while True:
            try:
                call.send(None)
            except StopIteration as end:
                result: T = end.value
                return result


class _MemoryRepository(MemoryRepository):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    async def current_time(self) -> Micros:
        return self._loop.micros


class _Memory(SimulatedStore):
    def __init__(self, loop: SimulatedLoop) -> None:
        self.repository: MemoryRepository = _MemoryRepository(loop)

    def is_at_rest(self, excused: Collection[WorkflowId]) -> bool:
        runs = self.repository._runs.values()
        return all(_is_at_rest(run.record, excused) for run in runs)

    def close(self) -> None:
        """There is nothing."""


def _is_at_rest(run: RunRecord, excused: Collection[WorkflowId]) -> bool:
    is_set_apart = run.status is RunStatus.BLOCKED and run.workflow_id in excused
    return is_set_apart or not run.status.is_open


class _InlineDatabase(SqliteDatabase):
    """The real transactions, on a database in memory whose statements may be made to fail.

    What the thread of a connection does at a time is done at once.
    """

    def __init__(self, loop: SimulatedLoop) -> None:
        # Without connections that have threads.
        self._loop = loop
        self.connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
        self.connection.deserialize(empty_database())
        self.breaks: Break | None = None
        """How the next transaction is to fail, if it is."""

    async def read[T](self, transaction: Transaction[T]) -> T:
        return self._run(transaction, "BEGIN")

    async def write[T](self, transaction: Transaction[T]) -> T:
        return self._run(transaction, "BEGIN IMMEDIATE")

    async def write_for_now[T](self, transaction: Transaction[T]) -> T:
        # Here the power never goes, so that nothing that was committed is lost.
        return await self.write(transaction)

    def _run[T](self, transaction: Transaction[T], begin: str) -> T:
        connection: Any = self.connection
        if self.breaks is not None:
            connection, self.breaks = _Breaking(connection, self.breaks), None
        try:
            return run_transaction(transaction, begin, connection)
        except DRIVER_ERRORS as error:
            raise store_error(error, "the simulation") from error

    async def current_time(self) -> Micros:
        return self._loop.micros

    async def close(self) -> None:
        self.connection.close()


class _Breaking:
    """A connection whose disk is full after so many statements."""

    def __init__(self, connection: sqlite3.Connection, breaks: Break) -> None:
        self._connection = connection
        self._breaks = breaks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self._count(sql)
        return self._connection.execute(sql, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self._count(sql)
        return self._connection.executemany(sql, *parameters)

    def _count(self, sql: str) -> None:
        if sql in ("BEGIN", "BEGIN IMMEDIATE", "ROLLBACK"):
            return
        self._breaks.left -= 1
        if self._breaks.left < 0:
            self._breaks.has_failed = True
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error


class _Sql(SimulatedStore):
    def __init__(self, loop: SimulatedLoop) -> None:
        self.database = _InlineDatabase(loop)
        self.repository: SqlRepository = SqlRepository(self.database)

    def is_at_rest(self, excused: Collection[WorkflowId]) -> bool:
        rows = self.database.connection.execute(
            "SELECT workflow_id, status FROM workflows WHERE closed_at IS NULL"
        )
        return all(id_ in excused and status == RunStatus.BLOCKED for id_, status in rows)

    has_statements = True

    @contextmanager
    def breaking(self, after: int) -> Iterator[Break]:
        self.database.breaks = breaks = Break(after)
        try:
            yield breaks
        finally:
            # Not every call has a transaction, and the next one is somebody else's.
            self.database.breaks = None

    def close(self) -> None:
        self.database.connection.close()


@cache
def empty_database() -> bytes:
    """A migrated database without a run."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        run_apart(migrations.upgrade(SqliteDsn(str(path))))
        with closing(sqlite3.connect(path)) as connection:
            # What is deserialized has no log of its own.
            connection.execute("PRAGMA journal_mode = DELETE")
            return connection.serialize()


def prepare(tier: Tier) -> None:
    """What is done once in a process, before there is a simulated loop."""
    if tier is Tier.SQL:
        empty_database()


@contextmanager
def simulated_store(tier: Tier, loop: SimulatedLoop) -> Iterator[SimulatedStore]:
    store = _Memory(loop) if tier is Tier.MEMORY else _Sql(loop)
    try:
        yield store
    finally:
        store.close()
