"""Whether a driver's error means that the same call may succeed later."""

from __future__ import annotations

import sqlite3

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from loom.errors import StoreError, StoreUnavailableError
from loom.storage.sql.failures import DRIVER_ERRORS, store_error


def of_sqlite(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    return error


PASSING = [
    of_sqlite(sqlite3.SQLITE_BUSY),
    of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT),
    of_sqlite(sqlite3.SQLITE_LOCKED),
    of_sqlite(sqlite3.SQLITE_IOERR_FSYNC),
    of_sqlite(sqlite3.SQLITE_FULL),
    of_sqlite(sqlite3.SQLITE_CANTOPEN),
    ConnectionRefusedError("refused"),
    TimeoutError(),
    PoolTimeoutError("no connection left"),
    asyncpg.ConnectionDoesNotExistError("lost"),
    asyncpg.ConnectionFailureError("lost"),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.TooManyConnectionsError("too many"),
    asyncpg.DiskFullError("full"),
    asyncpg.AdminShutdownError("shut down"),
    asyncpg.CrashShutdownError("crashed"),
    asyncpg.CannotConnectNowError("starting up"),
    asyncpg.SerializationError("again"),
    asyncpg.DeadlockDetectedError("again"),
    asyncpg.LockNotAvailableError("locked"),
    asyncpg.QueryCanceledError("cancelled"),
    asyncpg.IdleInTransactionSessionTimeoutError("idle"),
    asyncpg.ReadOnlySQLTransactionError("standby"),
    asyncpg.InvalidCachedStatementError("schema changed"),
]

LASTING = [
    of_sqlite(sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY),
    of_sqlite(sqlite3.SQLITE_NOTADB),
    of_sqlite(sqlite3.SQLITE_READONLY),
    of_sqlite(sqlite3.SQLITE_CORRUPT),
    sqlite3.DataError("string or blob too big"),
    sqlite3.ProgrammingError("type not supported"),
    OverflowError("Python int too large to convert to SQLite INTEGER"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    asyncpg.UniqueViolationError("twice"),
    asyncpg.CharacterNotInRepertoireError("NUL"),
    asyncpg.DataError("value out of int64 range"),
    asyncpg.ProgramLimitExceededError("too large"),
    asyncpg.InvalidPasswordError("wrong"),
    asyncpg.InvalidCatalogNameError("no such database"),
    asyncpg.UndefinedTableError("no such table"),
]


def named(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", "")
    return f"{type(error).__name__} {code}".strip()


@pytest.mark.parametrize("error", PASSING, ids=named)
def test_what_passes_is_unavailability(error: Exception) -> None:
    assert isinstance(error, DRIVER_ERRORS)
    assert type(store_error(error, "here")) is StoreUnavailableError


@pytest.mark.parametrize("error", LASTING, ids=named)
def test_what_does_not_pass_is_a_refusal(error: Exception) -> None:
    assert isinstance(error, DRIVER_ERRORS)
    assert type(store_error(error, "here")) is StoreError


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), TypeError()], ids=named)
def test_a_mistake_in_loom_is_not_taken_for_a_failure_of_the_database(error: Exception) -> None:
    assert not isinstance(error, DRIVER_ERRORS)


def test_sqlalchemy_s_wrappings_make_no_difference() -> None:
    emulated = EmulatedDBAPIException("full", asyncpg.TooManyConnectionsError("full"))
    wrapped = DBAPIError("SELECT 1", {}, emulated)
    for error in (emulated, wrapped):
        assert isinstance(error, DRIVER_ERRORS)
        assert type(store_error(error, "here")) is StoreUnavailableError
        assert str(store_error(error, "here")) == "here: full"


def test_an_error_says_where_and_what() -> None:
    assert str(store_error(OSError("refused"), "postgresql://db/x")) == "postgresql://db/x: refused"
    assert "TimeoutError" in str(store_error(TimeoutError(), "here"))
    assert "not a SQLite database" in str(store_error(of_sqlite(sqlite3.SQLITE_NOTADB), "here"))
