"""The schema's versions: bringing a database to one of them, and telling where it stands.

The scripts are in ``alembic/``, which is beside the package in a checkout and within it in a
wheel. Alembic keeps the state of a run in its modules and waits where it likes, so each run has a
thread and an event loop of its own, and one follows the other.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool, event, func, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from loom.errors import SchemaVersionError, StoreUnavailableError
from loom.storage.sql.dsn import PostgresDsn, SqliteDsn, parse_dsn
from loom.storage.sql.failures import DRIVER_ERRORS, store_error
from loom.storage.sql.postgres import connect
from loom.storage.sql.schema import SCHEMA_VERSION, VERSION_TABLE, metadata, workflows
from loom.storage.sql.sqlite import check_path, exists
from loom.storage.sql.versions import check_version, is_newer, no_way_back

type Dsn = str | SqliteDsn | PostgresDsn

_PATIENCE: Final = 600.0  # seconds, while another deployer migrates
_POLL: Final = 0.1

# Any number, as long as nothing else on the server locks the same.
_ADVISORY_LOCK: Final = 0x6C6F6F6D

_NOTHING: Final = "base"

_one_at_a_time = threading.Lock()


async def upgrade(dsn: Dsn, revision: str = "head") -> None:
    """Bring the schema to a later version. Others may do the same at once.

    One that a later Loom has made stays as it is; if this Loom cannot work with it, it raises
    ``SchemaVersionError``.
    """
    where = str(_parsed(dsn))

    def run(connection: Connection) -> None:
        try:
            command.upgrade(_config(connection), revision)
        except CommandError:
            # Alembic has no script for what is there.
            if not is_newer(stored := _current(connection)):
                raise
            check_version(where, stored)

    await _on_connection(dsn, run)


async def downgrade(dsn: Dsn, revision: str) -> None:
    """Bring the schema back to an earlier version; ``base`` leaves nothing of Loom's.

    Raises ``SchemaVersionError`` for one that a later Loom has made: only that has the way back.
    """
    where = str(_parsed(dsn))

    def run(connection: Connection) -> None:
        try:
            command.downgrade(_config(connection), revision)
        except CommandError:
            if (stored := _current(connection)) and is_newer(stored):
                raise no_way_back(where, stored) from None
            raise
        if _current(connection) is None:
            connection.execute(text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))
        connection.commit()

    await _on_connection(dsn, run)


async def ways_back(dsn: Dsn) -> list[str]:
    """The versions that the schema can be taken back to, the nearest first; ``base`` is the last.

    Raises ``SchemaVersionError`` for one that a later Loom has made: only that has the way back.
    """
    stored = await current(dsn)
    if stored is None:
        return [_NOTHING]
    if is_newer(stored):
        raise no_way_back(str(_parsed(dsn)), stored)
    there = ScriptDirectory.from_config(_config()).iterate_revisions(stored, _NOTHING)
    return [*[script.revision for script in there][1:], _NOTHING]


async def current(dsn: Dsn) -> str | None:
    """The version of the schema; ``None`` when there is none."""
    parsed = _parsed(dsn)
    if isinstance(parsed, SqliteDsn) and not exists(parsed):
        return None
    return await _on_connection(parsed, _current, exclusive=False)


async def count_runs(dsn: Dsn) -> int:
    """How many runs are stored, in whatever version of the schema."""
    if await current(dsn) is None:
        return 0
    return await _on_connection(dsn, _count_runs, exclusive=False)


def head() -> str:
    """The version that this Loom works with."""
    return SCHEMA_VERSION


async def check(dsn: Dsn) -> str:
    """The version of the schema, when it is one that this Loom works with.

    Raises ``SchemaVersionError`` when it is none, or has been changed by hand. What a later Loom
    has made is not known here, and not compared.
    """
    where = str(_parsed(dsn))
    version = check_version(where, await current(dsn))
    if is_newer(version):
        return version
    if differences := await _on_connection(dsn, _differences, exclusive=False):
        raise SchemaVersionError(
            f"{where}: the schema has been changed by hand: {'; '.join(differences)}"
        )
    return version


# --- running Alembic -----------------------------------------------------------------------------


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    # Alembic reads it with %-interpolation.
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def scripts() -> Path:
    """The folder of the migration scripts."""
    package = Path(__file__).parents[2]
    installed = package / "_alembic"
    return installed if installed.is_dir() else package.parent / "alembic"


async def _on_connection[T](
    dsn: Dsn, function: Callable[[Connection], T], *, exclusive: bool = True
) -> T:
    parsed = _parsed(dsn)

    async def run() -> T:
        async with open_connection(parsed, exclusive=exclusive) as connection:
            return await connection.run_sync(function)

    def run_apart() -> T:
        with _one_at_a_time:
            return asyncio.run(run())

    return await asyncio.to_thread(run_apart)


def _parsed(dsn: Dsn) -> SqliteDsn | PostgresDsn:
    return parse_dsn(dsn) if isinstance(dsn, str) else dsn


# --- connections ---------------------------------------------------------------------------------


@asynccontextmanager
async def open_connection(
    dsn: SqliteDsn | PostgresDsn, *, exclusive: bool = True
) -> AsyncIterator[AsyncConnection]:
    """A connection to migrate on, or only to look: one at a time when ``exclusive``."""
    engine = _sqlite_engine(dsn, exclusive) if isinstance(dsn, SqliteDsn) else _postgres_engine(dsn)
    try:
        async with engine.connect() as connection:
            if exclusive and isinstance(dsn, PostgresDsn):
                await _lock(connection, dsn)
            yield connection
    except DRIVER_ERRORS as error:
        raise store_error(error, str(dsn)) from error
    finally:
        await engine.dispose()


def _sqlite_engine(dsn: SqliteDsn, exclusive: bool) -> AsyncEngine:
    check_path(dsn)
    engine = create_async_engine(
        "sqlite+aiosqlite://",
        poolclass=NullPool,
        # No transactions but ours: Python's own would commit before some statements, so that a
        # crash could leave half a migration behind.
        async_creator=lambda *_, **__: aiosqlite.connect(
            dsn.path, timeout=dsn.busy_timeout, isolation_level=None
        ),
    )

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # Whoever comes later waits here, and then finds the migration done.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if exclusive else "BEGIN")

    return engine


def _postgres_engine(dsn: PostgresDsn) -> AsyncEngine:
    return create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        # Building an index may take its time.
        async_creator=lambda *_, **__: connect(dsn, command_timeout=None),
    )


async def _lock(connection: AsyncConnection, dsn: PostgresDsn) -> None:
    """Keep other deployers out for as long as the connection lives.

    Polled: whoever waited for the lock would do so in a transaction, and an index that is built
    concurrently by its holder waits for the end of all transactions.
    """
    query = text("SELECT pg_try_advisory_lock(:key)").bindparams(key=_ADVISORY_LOCK)
    patience = time.monotonic() + _PATIENCE
    while not await connection.scalar(query):
        await connection.rollback()
        if time.monotonic() > patience:
            raise StoreUnavailableError(f"{dsn}: somebody else is still migrating it")
        await asyncio.sleep(_POLL)
    await connection.rollback()


# --- comparing -----------------------------------------------------------------------------------


def is_ours(item: Any, name: str | None, kind: str, *_: object) -> bool:
    """Whether Alembic shall compare it: the database may hold tables of others."""
    table = name if kind == "table" else getattr(getattr(item, "table", None), "name", None)
    return table in metadata.tables


def _context(connection: Connection) -> MigrationContext:
    options = {"version_table": VERSION_TABLE, "include_object": is_ours, "compare_type": True}
    return MigrationContext.configure(connection, opts=options)


def _current(connection: Connection) -> str | None:
    return _context(connection).get_current_revision()


def _count_runs(connection: Connection) -> int:
    count: int = connection.execute(select(func.count()).select_from(workflows)).scalar_one()
    return count


def _differences(connection: Connection) -> list[str]:
    differences = compare_metadata(_context(connection), metadata)
    if differences:
        return [_described(difference) for difference in _flat(differences)]
    return list(_predicate_differences(connection))


def _flat(differences: Any) -> Iterator[tuple[Any, ...]]:
    for difference in differences:
        if isinstance(difference, list):
            yield from difference
        else:
            yield difference


def _described(difference: tuple[Any, ...]) -> str:
    names = (part if isinstance(part, str) else getattr(part, "name", None) for part in difference)
    return " ".join(name for name in names if name)


def _predicate_differences(connection: Connection) -> Iterator[str]:
    """Partial indexes over other rows than they should be, which Alembic does not see."""
    option = f"{connection.dialect.name}_where"
    for table in metadata.sorted_tables:
        live = {
            index["name"]: index.get("dialect_options", {}).get(option)
            for index in inspect(connection).get_indexes(table.name)
        }
        for index in table.indexes:
            if _predicate(live.get(index.name)) != _predicate(index.dialect_kwargs.get(option)):
                yield f"modify_index {index.name} where"


def _predicate(condition: Any) -> str:
    # Postgres gives it back with parentheses and casts of its own.
    return re.sub(r"::\w+|[()\s]", "", "" if condition is None else str(condition)).lower()
