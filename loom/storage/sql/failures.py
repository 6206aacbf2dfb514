"""What the drivers raise, told as Loom's own errors.

The question that matters above the port is whether the same call may succeed later. When in doubt
about a commit, the answer is yes: *unavailable* also means that the outcome is unknown.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from loom.errors import StoreError, StoreUnavailableError

_SQLITE_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_NOMEM,
    }
)

_SQLITE_SAYS: Final = {
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_READONLY: "the file, or its folder, cannot be written to",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
}

_POSTGRES_PASSING: Final = (
    "08",  # connection lost or refused
    "40",  # rolled back: serialization failure, deadlock, outcome unknown
    "53",  # too many connections, disk full, out of memory
    "57",  # shut down, starting, cancelled
    "58",  # I/O error
    "25006",  # read only: a standby, or a primary that has just lost its place
    "25P0",  # idle for too long within a transaction, as after a pause of the process
    "55P03",  # a lock was not to be had
)

_CONNECTION_LOST: Final = (
    OSError,
    EOFError,
    TimeoutError,
    PoolTimeoutError,
    asyncpg.InternalClientError,
    # The schema has changed under a prepared statement; asyncpg prepares it anew.
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
)

# SQLAlchemy wraps what is raised on its own connections, and while it connects for its pool.
_WRAPPED: Final = (DBAPIError, EmulatedDBAPIException)

DRIVER_ERRORS: Final = (
    sqlite3.Error,
    *_WRAPPED,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    *_CONNECTION_LOST,
    # Values that a driver cannot pass on: integers beyond 64 bits, lone surrogates.
    OverflowError,
    UnicodeError,
)
"""Everything a driver raises when the database, and not Loom's code, is the cause."""


def store_error(error: BaseException, where: str) -> StoreError:
    """The error to raise for a driver's; ``where`` names the database, without a password."""
    while isinstance(error, _WRAPPED) and error.orig is not None:
        error = error.orig
    kind = StoreUnavailableError if is_passing(error) else StoreError
    return kind(f"{where}: {_told(error)}")


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, sqlite3.Error):
        return primary_code(error) in _SQLITE_PASSING
    if isinstance(error, _CONNECTION_LOST):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_POSTGRES_PASSING)
    # What else the client refuses is a closed connection, unless it is about a value.
    return isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)


def _told(error: BaseException) -> str:
    if isinstance(error, sqlite3.Error) and (says := _SQLITE_SAYS.get(primary_code(error))):
        return f"{says} ({error})"
    return str(error) or type(error).__name__


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code, without what extended codes add."""
    # Errors that Python's module raises by itself have no code.
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
