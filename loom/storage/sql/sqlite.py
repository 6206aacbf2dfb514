"""The store in a SQLite file, through aiosqlite."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import aiosqlite

from loom.errors import ConfigurationError, StoreError
from loom.identifiers import Micros
from loom.storage.repository import LeaseRepository
from loom.storage.sql.dialects import Row, RowsStatement, SqliteDialect
from loom.storage.sql.dsn import SqliteDsn, parse_dsn
from loom.storage.sql.failures import DRIVER_ERRORS, primary_code, store_error
from loom.storage.sql.neighbours import FileNotifier
from loom.storage.sql.repository import SqlRepository
from loom.storage.sql.schema import VERSION_TABLE
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Database, Many, Query, Rows, Transaction, Unmatched
from loom.storage.sql.versions import check_version, is_older
from loom.storage.store import Store

_OLDEST: Final = (3, 38, 0)  # the first that always has the JSON functions


type Connect = Callable[[SqliteDsn], sqlite3.Connection]


class SqliteConnection:
    """One connection with a thread of its own, on which whole functions run.

    It is opened when first used, and again after it broke. aiosqlite would cross threads for every
    statement; a transaction that goes over as one function crosses once, and the thread's queue
    keeps transactions apart, whatever becomes of their callers.
    """

    def __init__(self, dsn: SqliteDsn, connect: Connect) -> None:
        self._dsn = dsn
        self._connect = connect
        self._opening: asyncio.Task[aiosqlite.Connection] | None = None
        self._is_closed = False

    async def run[T](self, function: Callable[[sqlite3.Connection], T]) -> T:
        """The result of a function that is given the connection, on its thread."""
        if self._is_closed:
            raise StoreError(f"{self._dsn} has been closed")
        opening = self._opening
        if opening is None:
            opening = self._opening = asyncio.create_task(self._open())
        try:
            # Shared by all who wait for it, so that none of them can cancel it.
            connection = await asyncio.shield(opening)
            # Private, but the only way to the thread; nothing else here depends on it.
            execute: Any = connection._execute
            result: T = await execute(function, connection._conn)
        except DRIVER_ERRORS as error:
            if self._opening is opening and _is_broken(opening, error):
                self._opening = None
                await _close(opening)
            raise store_error(error, str(self._dsn)) from error
        return result

    async def _open(self) -> aiosqlite.Connection:
        connection = aiosqlite.Connection(partial(self._connect, self._dsn), iter_chunk_size=64)
        # A store that nobody closed must not keep the process from ending.
        connection._thread.daemon = True
        try:
            return await connection
        except DRIVER_ERRORS:
            # Its thread has been told to end, and reports that to this loop, which must be there.
            # There is nothing else that the thread has to do, so it takes no time.
            connection._thread.join()
            raise

    async def close(self) -> None:
        """Let what is queued run, and close. Closing twice is fine."""
        self._is_closed = True
        opening, self._opening = self._opening, None
        if opening is not None:
            await _close(opening)


async def _close(opening: asyncio.Task[aiosqlite.Connection]) -> None:
    with suppress(*DRIVER_ERRORS):
        connection = await opening
        await connection.close()


def _is_broken(opening: asyncio.Task[aiosqlite.Connection], error: Exception) -> bool:
    if not opening.done() or opening.cancelled() or opening.exception() is not None:
        return True
    return isinstance(error, sqlite3.Error) and primary_code(error) in _BREAKING


_BREAKING: Final = (
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
)


# --- connecting ----------------------------------------------------------------------------------


def connect_writer(dsn: SqliteDsn) -> sqlite3.Connection:
    """A connection for transactions that write, and the one that moves the log into the file."""
    return _connect(dsn, "wal_autocheckpoint = 1000")


def connect_reader(dsn: SqliteDsn) -> sqlite3.Connection:
    """A connection that cannot write."""
    return _connect(dsn, "wal_autocheckpoint = 0", "query_only = ON")


def connect_for_leases(dsn: SqliteDsn) -> sqlite3.Connection:
    """A connection for small writes beside the others.

    SQLite before 3.51.3 may damage the log when two connections move it into the file at once:
    within a process this is left to the writer.
    """
    return _connect(dsn, "wal_autocheckpoint = 0")


def _connect(dsn: SqliteDsn, *pragmas: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        dsn.path, timeout=dsn.busy_timeout, isolation_level=None, cached_statements=256
    )
    try:
        _use_wal(connection, dsn)
        # In WAL mode anything less may lose the last commits when the power goes. On macOS only a
        # full fsync reaches the disk itself.
        for pragma in ("synchronous = FULL", "fullfsync = ON", *pragmas):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, dsn: SqliteDsn) -> None:
    """Switch the file to write-ahead logging, for good."""
    patience = time.monotonic() + dsn.busy_timeout
    while True:
        try:
            [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            # The switch does not wait by itself for others who have just opened the file.
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                raise
            time.sleep(0.01)
        else:
            break
    if mode != "wal":
        raise sqlite3.OperationalError("write-ahead logging does not work on this file system")


# --- transactions --------------------------------------------------------------------------------


class SqliteDatabase(Database):
    """A file, with one connection for writing and one for reading."""

    statements = Statements(SqliteDialect())
    works_elsewhere = False

    def __init__(
        self,
        dsn: SqliteDsn,
        writing: threading.Lock,
        connect: Connect = connect_writer,
    ) -> None:
        # Writers of one process queue here; SQLite's own waiting is a sleep that others overtake.
        self._writing = writing
        self._writer = SqliteConnection(dsn, connect)
        self._reader = SqliteConnection(dsn, connect_reader)

    async def read[T](self, transaction: Transaction[T]) -> T:
        return await self._reader.run(partial(_run, transaction, "BEGIN"))

    async def write[T](self, transaction: Transaction[T]) -> T:
        return await self._writer.run(partial(_write, transaction, self._writing, _ON_DISK))

    async def write_for_now[T](self, transaction: Transaction[T]) -> T:
        return await self._writer.run(partial(_write, transaction, self._writing, _IN_ORDER))

    async def write_at_once(self, query: Query) -> Rows:
        def transaction() -> Transaction[Rows]:
            return (yield query)

        return await self.write(transaction())

    async def current_time(self) -> Micros:
        return time.time_ns() // 1_000

    async def writes_by_others(self) -> int:
        """A number that changes when another connection than the writer has written."""
        return await self._writer.run(_data_version)

    async def schema_version(self) -> str | None:
        """Which migration the file has seen last."""
        return await self._reader.run(_schema_version)

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()


_ON_DISK: Final = "PRAGMA synchronous = FULL"
"""Commits wait for the disk: in WAL mode anything less may lose the last when the power goes."""

_IN_ORDER: Final = "PRAGMA synchronous = NORMAL"
"""The log stays in order: the next commit that waits for the disk takes this one along."""


def _write[T](
    transaction: Transaction[T],
    writing: threading.Lock,
    durability: str,
    connection: sqlite3.Connection,
) -> T:
    with writing:
        # Said every time, so that no failure can leave the connection with less.
        connection.execute(durability)
        # A transaction that begins by reading and then wants to write fails at once when another
        # has written in between, however long the busy timeout.
        return _run(transaction, "BEGIN IMMEDIATE", connection)


def _run[T](transaction: Transaction[T], begin: str, connection: sqlite3.Connection) -> T:
    connection.execute(begin)
    try:
        result = _drive(transaction, connection)
        connection.execute("COMMIT")
    except BaseException:
        # SQLite rolls back by itself when the disk is full.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _drive[T](transaction: Transaction[T], connection: sqlite3.Connection) -> T:
    try:
        request = next(transaction)
        while True:
            request = transaction.send(_execute(request, connection))
    except StopIteration as stop:
        result: T = stop.value
        return result


def _execute(request: Query | Many, connection: sqlite3.Connection) -> Rows:
    if isinstance(request, Query):
        sql, parameters = request.statement.sql, request.statement.arrange(request.parameters)
        return connection.execute(sql, parameters).fetchall()
    statement, given = request.statement, request.statement.arrange(request.rows)
    if request.returning:
        return [found for row in given for found in connection.execute(statement.sql, row)]
    changed = _change(statement, given, connection)
    if request.each and changed < len(given):
        raise Unmatched
    return ()


_ROWS_AT_ONCE: Final = 64, 8
"""Each execution lets go of the interpreter's lock and waits to get it back, so a statement should
be worth it. A few fixed numbers of rows, for which the texts are prepared once."""


def _change(statement: RowsStatement, rows: Sequence[Row], connection: sqlite3.Connection) -> int:
    """How many rows were changed."""
    changed, begin = 0, 0
    for number in _ROWS_AT_ONCE if statement.row else ():
        while len(rows) - begin >= number:
            parameters = tuple(chain.from_iterable(rows[begin : begin + number]))
            changed += connection.execute(statement.of_rows(number), parameters).rowcount
            begin += number
    if begin < len(rows):
        changed += connection.executemany(statement.sql, rows[begin:]).rowcount
    return changed


def _data_version(connection: sqlite3.Connection) -> int:
    [version] = connection.execute("PRAGMA data_version").fetchone()
    return int(version)


def _schema_version(connection: sqlite3.Connection) -> str | None:
    named = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if connection.execute(named, (VERSION_TABLE,)).fetchone() is None:
        return None
    row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
    return None if row is None else str(row[0])


# --- the store -----------------------------------------------------------------------------------


class SqliteStore(Store):
    """An open SQLite file."""

    def __init__(self, dsn: SqliteDsn) -> None:
        self.dsn = dsn
        self._writing = threading.Lock()
        self.database = SqliteDatabase(dsn, self._writing)
        self.repository: SqlRepository = SqlRepository(self.database)
        self.notifier: FileNotifier = FileNotifier(dsn.path, self.database.writes_by_others)

    @asynccontextmanager
    async def lease_repository(self) -> AsyncIterator[LeaseRepository]:
        database = SqliteDatabase(self.dsn, self._writing, connect_for_leases)
        try:
            yield SqlRepository(database)
        finally:
            await database.close()

    async def close(self) -> None:
        await self.notifier.close()
        await self.database.close()


async def open_store(dsn: str) -> Store:
    """Open the file that a DSN names; make it and bring its schema up to date when needed."""
    parsed = parse_dsn(dsn)
    if not isinstance(parsed, SqliteDsn):
        raise ConfigurationError(f"{parsed} is not a SQLite DSN")
    check_path(parsed)
    store = SqliteStore(parsed)
    try:
        await _migrate(store.database, parsed)
    except BaseException:
        await store.close()
        raise
    return store


def check_path(dsn: SqliteDsn) -> None:
    """Refuse early what SQLite would only call unable to open."""
    path = Path(dsn.path)
    if sqlite3.sqlite_version_info < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        raise ConfigurationError(
            f"Loom needs SQLite {wanted} or newer; this Python has {sqlite3.sqlite_version}"
        )
    if not path.parent.is_dir():
        raise ConfigurationError(f"the folder of {path} does not exist: {path.absolute().parent}")
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder, not a SQLite file")


def exists(dsn: SqliteDsn) -> bool:
    """Whether there is a file; connecting would make an empty one."""
    return Path(dsn.path).exists()


async def stored_version(dsn: SqliteDsn) -> str | None:
    """The version of the schema in a file, which is left as it is; ``None`` when there is none."""
    if not exists(dsn):
        return None
    check_path(dsn)
    connection = SqliteConnection(dsn, _connect_to_look)
    try:
        return await connection.run(_schema_version)
    finally:
        await connection.close()


def _connect_to_look(dsn: SqliteDsn) -> sqlite3.Connection:
    # With no pragma: the file may be somebody else's.
    return sqlite3.connect(dsn.path, timeout=dsn.busy_timeout, isolation_level=None)


async def _migrate(database: SqliteDatabase, dsn: SqliteDsn) -> None:
    version = await database.schema_version()
    if not is_older(version):
        check_version(str(dsn), version)
        return
    # Imported here: Alembic takes longer to import than all the rest, and is hardly ever needed.
    from loom.storage.sql import migrations

    await migrations.upgrade(dsn)
