"""DSNs as people write them."""

from __future__ import annotations

import pytest

from loom.errors import ConfigurationError
from loom.storage.sql import postgres, sqlite
from loom.storage.sql.dsn import PostgresDsn, SqliteDsn, parse_dsn


@pytest.mark.parametrize(
    ("dsn", "path"),
    [
        ("sqlite:///x.db", "x.db"),
        ("sqlite:///folder/x.db", "folder/x.db"),
        ("sqlite:////srv/x.db", "/srv/x.db"),
        ("sqlite+aiosqlite:///x.db", "x.db"),
        ("sqlite:///50%25 & more #1.db", "50%25 & more #1.db"),
    ],
)
def test_a_sqlite_dsn_names_a_file(dsn: str, path: str) -> None:
    assert parse_dsn(dsn) == SqliteDsn(path)


def test_a_sqlite_dsn_may_say_how_long_to_wait() -> None:
    assert parse_dsn("sqlite:///x.db?busy_timeout=0.5") == SqliteDsn("x.db", busy_timeout=0.5)


@pytest.mark.parametrize(
    ("dsn", "hint"),
    [
        ("sqlite://", "memory://"),
        ("sqlite:///", "memory://"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite+aiosqlite:///:memory:", "memory://"),
        ("sqlite://x.db", "three slashes"),
        ("sqlite:///file:x.db?mode=ro", "path itself"),
        ("sqlite:///x.db?mode=ro", "mode"),
        ("sqlite:///x.db?busy_timeout=soon", "seconds"),
        ("sqlite:///x.db?busy_timeout=-1", "seconds"),
        ("sqlite:///x.db?busy_timeout=3000000", "2000000 at the most"),
        ("sqlite:///x.db?busy_timeout=nan", "seconds"),
        ("sqlite+pysqlite:///x.db", "aiosqlite"),
        ("postgresql+psycopg://localhost/x", "asyncpg"),
        ("postgres+psycopg2://localhost/x", "asyncpg"),
        ("mysql://localhost/x", "mysql"),
        ("x.db", "sqlite:///"),
        ("", "sqlite:///"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_hint(dsn: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        parse_dsn(dsn)


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg"]
)
def test_every_spelling_of_postgres_is_understood(scheme: str) -> None:
    assert parse_dsn(f"{scheme}://ada:secret@db.example:5433/loom") == PostgresDsn(
        hosts="db.example:5433", database="loom", user="ada", password="secret"
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("p%40ss%2Fword", "p@ss/word"),
        ("100%25", "100%"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("p@ss:w/ord#1", "p@ss:w/ord#1"),
        ("%E2%82%AC+%3F", "€+?"),
        ("", None),
    ],
)
def test_a_password_comes_through_whole(written: str, meant: str | None) -> None:
    dsn = parse_dsn(f"postgresql://ada:{written}@db.example/loom")
    assert isinstance(dsn, PostgresDsn)
    assert (dsn.user, dsn.password) == ("ada", meant)
    assert (dsn.hosts, dsn.database) == ("db.example", "loom")


@pytest.mark.parametrize(
    ("dsn", "driver_dsn"),
    [
        ("postgresql://", "postgresql://"),
        ("postgresql:///loom?host=/run/pg", "postgresql:///?host=%2Frun%2Fpg"),
        ("postgresql://one,two:5433/loom", "postgresql://one,two:5433"),
        ("postgresql://[::1]:5432/loom", "postgresql://[::1]:5432"),
        ("postgresql://db/loom?ssl=require", "postgresql://db/?sslmode=require"),
        ("postgresql://db/loom?allow_unsafe_fsync=1", "postgresql://db"),
    ],
)
def test_the_rest_is_for_the_driver_to_read(dsn: str, driver_dsn: str) -> None:
    parsed = parse_dsn(dsn)
    assert isinstance(parsed, PostgresDsn)
    assert parsed.driver_dsn == driver_dsn


@pytest.mark.parametrize(
    ("query", "allowed"),
    [("", False), ("?allow_unsafe_fsync=1", True), ("?allow_unsafe_fsync=0", False)],
)
def test_fsync_off_has_to_be_allowed(query: str, allowed: bool) -> None:
    parsed = parse_dsn(f"postgresql://db/loom{query}")
    assert isinstance(parsed, PostgresDsn)
    assert parsed.allow_unsafe_fsync is allowed


def test_a_password_is_never_shown() -> None:
    parsed = parse_dsn("postgresql://ada:s3cret@db.example/loom?password=s3cret")
    assert "s3cret" not in str(parsed)
    assert str(parsed) == "postgresql://ada@db.example/loom"
    with pytest.raises(ConfigurationError) as refused:
        parse_dsn("postgresql+psycopg://ada:s3cret@db.example/loom")
    assert "s3cret" not in str(refused.value)


async def test_each_store_refuses_the_dsn_of_the_other() -> None:
    with pytest.raises(ConfigurationError, match="not a Postgres DSN"):
        await postgres.open_store("sqlite:///x.db")
    with pytest.raises(ConfigurationError, match="not a SQLite DSN"):
        await sqlite.open_store("postgresql://db/loom")


async def test_what_the_driver_cannot_read_is_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"db.*/loom"):
        await postgres.open_store("postgresql:///loom?host=db&port=many")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://ada:s3cretdb:5432/loom",
        "postgresql://ada/x:s3cret@db/loom",
        "postgresql://ada:s3cret@db/loom\ud800",
        "postgresql://db:many/loom",
    ],
)
def test_a_damaged_dsn_is_refused_and_its_password_not_shown(dsn: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_dsn(dsn)
    assert "s3cret" not in str(refused.value)
