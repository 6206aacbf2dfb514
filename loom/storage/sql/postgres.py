"""The store in Postgres, through asyncpg and SQLAlchemy's pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import asyncpg
from sqlalchemy import PoolProxiedConnection
from sqlalchemy.ext.asyncio import create_async_engine

from loom.errors import ConfigurationError, StoreError, StoreUnavailableError
from loom.identifiers import Micros
from loom.storage.repository import LeaseRepository
from loom.storage.sql.dialects import PostgresDialect
from loom.storage.sql.dsn import PostgresDsn, parse_dsn
from loom.storage.sql.failures import DRIVER_ERRORS, store_error
from loom.storage.sql.notifier import PostgresNotifier
from loom.storage.sql.repository import SqlRepository
from loom.storage.sql.schema import VERSION_TABLE
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Database, Many, Query, Rows, Transaction, Unmatched
from loom.storage.sql.versions import check_version
from loom.storage.store import Store

_POOL_SIZE: Final = 8
_CONNECT_TIMEOUT: Final = 10  # seconds
_COMMAND_TIMEOUT: Final = 60  # seconds; a server that went silent must not be awaited for ever

_SETTINGS: Final = {
    "application_name": "loom",
    "lock_timeout": "10s",
    # A process that is stopped while it holds locks must not keep others from taking over.
    "idle_in_transaction_session_timeout": "10s",
    # Statements name their rows by keys: to plan them takes longer than to run them.
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    # How large a table is, Postgres knows only roughly. Nothing that may read all of it is taken
    # for cheaper than looking up its keys, one after the other.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
}

_PLANS_LAST: Final = 2.0
"""Seconds after which statements are planned anew: what was best when a table was empty, such as to
read all of it, must not be done for longer while it grows."""

_RECEIVED_AT_ONCE: Final = 32 * 1024
"""Bytes. Python allocates as many each time that it looks what has arrived, and gives back what it
did not need: with its 256 KiB, which are seldom free in one piece, a busy process's memory grew by
a megabyte in ten seconds."""

# Whatever the database's default: what is read after a lock must be what others committed.
_ISOLATION: Final = {"default_transaction_isolation": "read committed"}

_WEAK_COMMITS: Final = ("off", "local", "remote_write")


async def connect(
    dsn: PostgresDsn, command_timeout: float | None = _COMMAND_TIMEOUT
) -> asyncpg.Connection:
    """A new connection on which a commit that was acknowledged is on disk."""
    settings = {name: value for name, value in _SETTINGS.items() if name not in dsn.options}
    try:
        connection = await asyncpg.connect(
            dsn.driver_dsn,
            user=dsn.user,
            password=dsn.password,
            database=dsn.database,
            timeout=_CONNECT_TIMEOUT,
            command_timeout=command_timeout,
            statement_cache_size=200,
            max_cached_statement_lifetime=0,
            server_settings=settings | _ISOLATION,
        )
    except OSError:
        # A certificate that cannot be verified is a ValueError as well, and the server's affair.
        raise
    except ValueError as error:
        # Raised by asyncpg for what it cannot read in a DSN, before it connects.
        raise ConfigurationError(f"{dsn}: {error}") from error
    except asyncpg.ProtocolViolationError as error:
        raise _pooled(dsn, str(error)) from error
    try:
        await _ensure_settings(connection, dsn, settings)
        await _ensure_durability(connection, dsn)
    except BaseException:
        connection.terminate()
        raise
    _receive_little_at_once(connection)
    return connection


def _receive_little_at_once(connection: asyncpg.Connection) -> None:
    transport = connection._transport
    # Not TLS, which has a buffer of its own, nor another event loop's.
    if hasattr(transport, "max_size"):
        transport.max_size = _RECEIVED_AT_ONCE


async def _ensure_settings(
    connection: asyncpg.Connection, dsn: PostgresDsn, settings: Mapping[str, str]
) -> None:
    """A pooler may keep them to itself, and give each transaction to another session."""
    try:
        timeout = await connection.fetchval("SELECT current_setting('lock_timeout')")
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError) as error:
        raise _pooled(dsn, str(error).partition("\n")[0]) from error
    if timeout != settings.get("lock_timeout", timeout):
        raise _pooled(dsn, "it keeps Loom's session settings to itself")


def _pooled(dsn: PostgresDsn, reason: str) -> StoreError:
    return StoreError(
        f"{dsn}: this is a connection pooler, such as PgBouncer ({reason}). Loom has a small pool "
        "itself, and needs sessions of its own for settings, prepared statements, locks and "
        "LISTEN: give it a DSN of the server itself"
    )


async def _ensure_durability(connection: asyncpg.Connection, dsn: PostgresDsn) -> None:
    query = "SELECT current_setting('fsync'), current_setting('synchronous_commit')"
    fsync, synchronous_commit = await connection.fetchrow(query)
    if fsync == "off" and not dsn.allow_unsafe_fsync:
        raise StoreError(
            f"{dsn}: the server runs with fsync = off, so that a crash of its machine may destroy "
            "everything. Turn it on, or add ?allow_unsafe_fsync=1 to the DSN of a test server"
        )
    # A stronger setting, such as remote_apply, stays.
    if synchronous_commit in _WEAK_COMMITS:
        await connection.execute("SET synchronous_commit = on")


# --- transactions --------------------------------------------------------------------------------


class PostgresDatabase(Database):
    """A database on a server, with a pool of connections to it."""

    statements = Statements(PostgresDialect())
    works_elsewhere = True

    def __init__(self, dsn: PostgresDsn, pool_size: int = _POOL_SIZE) -> None:
        self._dsn = dsn
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda *_, **__: connect(dsn),
            pool_size=pool_size,
            max_overflow=0,
            # The one that was used last: what it has prepared and looked up is still at hand.
            pool_use_lifo=True,
            # Every connection comes back outside of any transaction.
            pool_reset_on_return=None,
        )
        self._running: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    async def read[T](self, transaction: Transaction[T]) -> T:
        return await self._shielded(self._read(transaction))

    async def write[T](self, transaction: Transaction[T]) -> T:
        return await self._shielded(self._write(transaction))

    async def write_at_once(self, query: Query) -> Rows:
        return await self._shielded(self._write_at_once(query))

    async def current_time(self) -> Micros:
        return await self._shielded(self._fetch_value(_CLOCK))

    async def schema_version(self) -> str | None:
        """Which migration the database has seen last."""
        return await self._shielded(self._schema_version())

    async def close(self) -> None:
        self._is_closed = True
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._engine.dispose()

    async def _shielded[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run it to its end, even when the caller is cancelled: a connection that is cancelled in
        the middle of a commit is of no more use, and nobody could say what became of it."""
        if self._is_closed:
            work.close()
            raise StoreError(f"{self._dsn} has been closed")
        # It is on its way to the server before anything else is done.
        loop = asyncio.get_running_loop()
        task = asyncio.Task(self._translated(work), loop=loop, eager_start=True)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _translated[T](self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except DRIVER_ERRORS as error:
            raise store_error(error, str(self._dsn)) from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the pool, thrown away when anything goes wrong with it, and not when the
        server has only refused a statement."""
        pooled = await self._engine.raw_connection()
        # A server that restarts closes all of them at once.
        while _driver_connection(pooled).is_closed():
            pooled.invalidate()
            pooled = await self._engine.raw_connection()
        try:
            await _renew_plans(pooled)
            yield _driver_connection(pooled)
        except BaseException as error:
            if _is_as_before(_driver_connection(pooled), error):
                pooled.close()
            else:
                pooled.invalidate()
            raise
        pooled.close()

    async def _read[T](self, transaction: Transaction[T]) -> T:
        # Without BEGIN and COMMIT: hardly any read is of more than one statement, and those that
        # are only want hints.
        async with self._connection() as connection:
            return await _drive(transaction, connection)

    async def _write[T](self, transaction: Transaction[T]) -> T:
        async with self._connection() as connection:
            await connection.execute("BEGIN")
            try:
                result = await _drive(transaction, connection)
            except Exception as error:
                # If even this fails, so does the connection, and with it the transaction.
                await connection.execute("ROLLBACK")
                failure = error
            else:
                await self._commit(connection)
                return result
        raise failure

    async def _write_at_once(self, query: Query) -> Rows:
        async with self._connection() as connection:
            with self._heeding_warnings(connection):
                return await _execute(query, connection)

    async def _commit(self, connection: asyncpg.Connection) -> None:
        with self._heeding_warnings(connection):
            status = await connection.execute("COMMIT")
        if status != "COMMIT":
            raise StoreError(f"{self._dsn}: the transaction was rolled back at its commit")

    @contextmanager
    def _heeding_warnings(self, connection: asyncpg.Connection) -> Iterator[None]:
        """Held during a commit, which is not to be believed when the server warns."""
        warnings: list[str] = []

        def listen(_: object, message: asyncpg.PostgresLogMessage) -> None:
            if message.severity_en == "WARNING":
                warnings.append(str(message))

        connection.add_log_listener(listen)
        try:
            yield
        finally:
            connection.remove_log_listener(listen)
        if warnings:
            # As when the wait for a synchronous standby is cancelled: committed here, perhaps not
            # there, and yet reported as a success.
            raise StoreUnavailableError(f"{self._dsn}: outcome unknown: {'; '.join(warnings)}")

    async def _fetch_value(self, query: str) -> Any:
        async with self._connection() as connection:
            return await connection.fetchval(query)

    async def _schema_version(self) -> str | None:
        exists = f"SELECT to_regclass('{VERSION_TABLE}') IS NOT NULL"
        if not await self._fetch_value(exists):
            return None
        version = await self._fetch_value(f"SELECT version_num FROM {VERSION_TABLE}")
        return None if version is None else str(version)


_CLOCK: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def _is_as_before(connection: asyncpg.Connection, error: BaseException) -> bool:
    """Whether the session goes on: one statement was refused, and left nothing behind."""
    if not isinstance(error, asyncpg.PostgresError) or connection.is_closed():
        return False
    ends_session = (error.sqlstate or "").startswith(_SESSION_ENDS)
    return not ends_session and not connection.is_in_transaction()


_SESSION_ENDS: Final = (
    "08",  # the connection is lost
    "25P",  # idle within a transaction, and ended for that
    "57",  # shut down, crashed, cancelled
    "58",  # I/O error
    "XX",  # a bug of the server's, or damage
)


async def _renew_plans(pooled: PoolProxiedConnection) -> None:
    now = asyncio.get_running_loop().time()
    if now > pooled.info.setdefault("planned_at", now) + _PLANS_LAST:
        await _driver_connection(pooled).execute("DISCARD PLANS")
        pooled.info["planned_at"] = now


def _driver_connection(pooled: PoolProxiedConnection) -> asyncpg.Connection:
    return pooled.driver_connection


async def _drive[T](transaction: Transaction[T], connection: asyncpg.Connection) -> T:
    try:
        request = next(transaction)
        while True:
            request = transaction.send(await _execute(request, connection))
    except StopIteration as stop:
        result: T = stop.value
        return result


async def _execute(request: Query | Many, connection: asyncpg.Connection) -> Rows:
    if isinstance(request, Query):
        arguments = request.statement.arrange(request.parameters)
    else:
        arguments = request.statement.arrange(request.rows)
    if isinstance(request, Many) and request.each:
        # "UPDATE 3": the driver passes on what the server says.
        told: str = await connection.execute(request.statement.sql, *arguments)
        if int(told.rpartition(" ")[2]) < len(request.rows):
            raise Unmatched
        return ()
    rows: Rows = await connection.fetch(request.statement.sql, *arguments)
    return rows


# --- the store -----------------------------------------------------------------------------------


class PostgresStore(Store):
    """An open Postgres database."""

    def __init__(self, dsn: PostgresDsn) -> None:
        self.dsn = dsn
        self.database = PostgresDatabase(dsn)
        self.repository: SqlRepository = SqlRepository(self.database)
        self.notifier: PostgresNotifier = PostgresNotifier(partial(connect, dsn))

    @asynccontextmanager
    async def lease_repository(self) -> AsyncIterator[LeaseRepository]:
        database = PostgresDatabase(self.dsn, pool_size=1)
        try:
            yield SqlRepository(database)
        finally:
            await database.close()

    async def close(self) -> None:
        await self.notifier.close()
        await self.database.close()


async def open_store(dsn: str) -> Store:
    """Open the database that a DSN names, which ``loom db upgrade`` has prepared."""
    parsed = parse_dsn(dsn)
    if not isinstance(parsed, PostgresDsn):
        raise ConfigurationError(f"{parsed} is not a Postgres DSN")
    store = PostgresStore(parsed)
    try:
        check_version(str(parsed), await store.database.schema_version())
        await store.notifier.start()
    except BaseException:
        await store.close()
        raise
    return store
