"""DSNs as people write them, and what the drivers make of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode

from loom.errors import ConfigurationError

_SCHEME: Final = re.compile(
    r"(?P<database>[a-z][a-z0-9]*)(?:\+(?P<driver>\w*))?://(?P<rest>.*)", re.S
)

_SERVER: Final = re.compile(
    # The password is greedy, so that it may hold "@", ":" and "/" as they are.
    r"(?:(?P<user>[^:@/?]*)(?::(?P<password>[^?]*))?@)?"
    r"(?P<hosts>[^/?@]*)(?:/(?P<database>[^?@/]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)

_HOST: Final = r"(?:\[[^\]]*\]|[^:,\[\]]*)(?::\d*)?"
_HOSTS: Final = re.compile(rf"{_HOST}(?:,{_HOST})*", re.ASCII)

_LONGEST_PATIENCE: Final = 2_000_000
"""Seconds. SQLite counts milliseconds in 32 bits, and with more than fits does not wait at all."""


@dataclass(frozen=True, slots=True)
class SqliteDsn:
    """A file."""

    path: str
    busy_timeout: float = 10.0
    """How long to wait for another process that is writing, in seconds."""

    def __str__(self) -> str:
        return f"sqlite:///{self.path}"


@dataclass(frozen=True, slots=True)
class PostgresDsn:
    """A server and a database on it."""

    hosts: str
    database: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_unsafe_fsync: bool = False
    """Accept a server with ``fsync = off``, which loses data when the machine goes down. Only for
    tests."""

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        database = f"/{self.database}" if self.database else ""
        return f"postgresql://{user}{self.options.get('host', self.hosts)}{database}"

    @property
    def driver_dsn(self) -> str:
        """What asyncpg reads by itself: all but the user, the password and the database."""
        query = f"/?{urlencode(self.options)}" if self.options else ""
        return f"postgresql://{self.hosts}{query}"


def parse_dsn(dsn: str) -> SqliteDsn | PostgresDsn:
    """What a DSN names. Raises ``ConfigurationError``, which does not repeat a password."""
    if not dsn.isprintable():
        raise ConfigurationError("this DSN holds control or other unprintable characters")
    match = _SCHEME.fullmatch(dsn)
    if match is None:
        raise ConfigurationError(
            "a DSN looks like sqlite:///workflows.db or postgresql://user:password@host/database"
        )
    database, driver, rest = match.group("database", "driver", "rest")
    if database == "sqlite":
        _check_driver(database, driver, "aiosqlite")
        return _parse_sqlite(rest)
    if database in ("postgresql", "postgres"):
        _check_driver(database, driver, "asyncpg")
        return _parse_postgres(rest)
    raise ConfigurationError(f"{database}:// is not one of Loom's SQL databases")


def _check_driver(database: str, driver: str | None, expected: str) -> None:
    if driver not in (None, expected):
        raise ConfigurationError(
            f"Loom speaks to this database through {expected}: write {database}:// or "
            f"{database}+{expected}:// instead of {database}+{driver}://"
        )


# --- SQLite --------------------------------------------------------------------------------------


def _parse_sqlite(rest: str) -> SqliteDsn:
    location, _, query = rest.partition("?")
    host, slash, path = location.partition("/")
    if host:
        raise ConfigurationError(
            f"sqlite://{location} names a host: a file takes three slashes (sqlite:///{location}), "
            "an absolute path four"
        )
    if not slash or not path or path == ":memory:":
        raise ConfigurationError(
            "a SQLite store needs a file (sqlite:///workflows.db); to keep nothing, use memory://"
        )
    if path.startswith("file:"):
        raise ConfigurationError("SQLite's file: URIs are not supported: give the path itself")
    return _with_sqlite_options(SqliteDsn(path), dict(parse_qsl(query)))


def _with_sqlite_options(dsn: SqliteDsn, options: dict[str, str]) -> SqliteDsn:
    patience = options.pop("busy_timeout", None)
    if options:
        raise ConfigurationError(
            f"unknown options in a SQLite DSN: {', '.join(sorted(options))} (busy_timeout, in "
            "seconds, is the only one)"
        )
    if patience is None:
        return dsn
    try:
        seconds = float(patience)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_PATIENCE:
        raise ConfigurationError(
            f"busy_timeout is in seconds, {_LONGEST_PATIENCE} at the most, not {patience!r}"
        )
    return replace(dsn, busy_timeout=seconds)


# --- Postgres ------------------------------------------------------------------------------------


def _parse_postgres(rest: str) -> PostgresDsn:
    match = _SERVER.fullmatch(rest)
    # A password that stands where the port or the database does would be shown as they are.
    if match is None or not _HOSTS.fullmatch(match["hosts"]):
        # Not repeated: it may hold a password.
        raise ConfigurationError(
            "a Postgres DSN looks like postgresql://user:password@host:5432/database, with special "
            "characters percent-encoded"
        )
    user, password, hosts, database, query = match.group(
        "user", "password", "hosts", "database", "query"
    )
    options = dict(parse_qsl(query or ""))
    unsafe = options.pop("allow_unsafe_fsync", "")
    # SQLAlchemy's users know the driver's own name for it.
    if "ssl" in options:
        options.setdefault("sslmode", options.pop("ssl"))
    return PostgresDsn(
        hosts=hosts,
        database=_decoded(database),
        user=_decoded(user),
        password=_decoded(password),
        options=options,
        allow_unsafe_fsync=unsafe.lower() in ("1", "true", "yes", "on"),
    )


def _decoded(text: str | None) -> str | None:
    return unquote(text) if text else None
