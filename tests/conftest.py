"""Fixtures for all tests: one database of the wanted kind for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from tests.databases import Databases, database_name, run_apart
from tests.postgres import PostgresUnavailable, running_postgres

REQUIRE_POSTGRES = "LOOM_TEST_REQUIRE_POSTGRES"

POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The whole suite runs in two processes, each with a Postgres of its own; what is named on the
    command line in one, as without xdist. ``-n`` says otherwise."""
    # They must find the same tests, and the name of one may be made of a set.
    os.environ.setdefault("PYTHONHASHSEED", "1")
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a Postgres, so that ``-m 'not postgres'`` leaves it out."""
    for item in items:
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)


# --- servers and templates, once a session -------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The DSN of a Postgres server on which databases can be created."""
    try:
        with running_postgres() as dsn:
            yield dsn
            return
    except PostgresUnavailable as unavailable:
        reasons = str(unavailable)
    if os.environ.get(REQUIRE_POSTGRES) == "1":
        pytest.fail(reasons, pytrace=False)
    pytest.skip(reasons)


@pytest.fixture(scope="session")
def postgres_databases(postgres_server: str) -> Iterator[Databases]:
    """Makes databases on that server."""
    with closing(Databases(postgres_server)) as databases:
        yield databases


@pytest.fixture(scope="session")
def postgres_template(postgres_databases: Databases) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to."""
    with postgres_databases.fresh() as dsn:
        _upgrade(dsn)
        yield database_name(dsn)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file that nobody has open."""
    path = tmp_path_factory.mktemp("template") / "loom.db"
    _upgrade(f"sqlite:///{path}")
    return path


def _upgrade(dsn: str) -> None:
    # Imported here: most tests need no SQLAlchemy, and it takes longer to import than they run.
    from loom.storage.sql import migrations

    run_apart(migrations.upgrade(dsn))


# --- databases, one a test -----------------------------------------------------------------------


@pytest.fixture
def memory_dsn() -> str:
    """A store in memory that no other test shares."""
    return f"memory://{uuid4().hex}"


@pytest.fixture
def sqlite_dsn(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'loom.db'}"


@pytest.fixture
def migrated_sqlite_dsn(sqlite_dsn: str, sqlite_template: Path) -> str:
    """A SQLite file with Loom's schema and nothing in it."""
    shutil.copyfile(sqlite_template, sqlite_dsn.removeprefix("sqlite:///"))
    return sqlite_dsn


@pytest.fixture
def postgres_dsn(postgres_databases: Databases) -> Iterator[str]:
    """An empty Postgres database."""
    with postgres_databases.fresh() as dsn:
        yield dsn


@pytest.fixture
def migrated_postgres_dsn(postgres_databases: Databases, postgres_template: str) -> Iterator[str]:
    """A Postgres database with Loom's schema and nothing in it."""
    with postgres_databases.fresh(postgres_template) as dsn:
        yield dsn


@pytest.fixture(params=["sqlite", POSTGRES])
def empty_dsn(request: pytest.FixtureRequest) -> str:
    """Runs the test on each SQL store in turn, without a schema."""
    return str(request.getfixturevalue(f"{request.param}_dsn"))


@pytest.fixture(params=["sqlite", POSTGRES])
def dsn(request: pytest.FixtureRequest) -> str:
    """Runs the test on each SQL store in turn, migrated."""
    return str(request.getfixturevalue(f"migrated_{request.param}_dsn"))


@pytest.fixture(params=["memory", "sqlite", POSTGRES])
def any_dsn(request: pytest.FixtureRequest) -> str:
    """Runs the test on every built-in store in turn, ready for use."""
    prefix = "" if request.param == "memory" else "migrated_"
    return str(request.getfixturevalue(f"{prefix}{request.param}_dsn"))
