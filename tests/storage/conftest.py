"""The SQL stores, by themselves: opened on a database of the test's own, and somebody beside them.

What is not told otherwise is on Postgres.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from loom.storage.sql import postgres, sqlite
from loom.storage.sql.postgres import PostgresDatabase, PostgresStore
from loom.storage.sql.repository import SqlRepository
from loom.storage.sql.sqlite import SqliteStore
from loom.storage.sql.transactions import Database
from loom.testing.conformance.scene import Scene
from tests.databases import plain_dsn


@pytest.fixture
async def store(migrated_postgres_dsn: str) -> AsyncIterator[PostgresStore]:
    opened = await postgres.open_store(migrated_postgres_dsn)
    assert isinstance(opened, PostgresStore)
    yield opened
    await opened.close()


@pytest.fixture
def database(store: PostgresStore) -> PostgresDatabase:
    return store.database


@pytest.fixture(params=["sqlite", "postgres"])
async def any_database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    dsn = request.getfixturevalue(f"migrated_{request.param}_dsn")
    opened = await (sqlite if request.param == "sqlite" else postgres).open_store(dsn)
    assert isinstance(opened, SqliteStore | PostgresStore)
    yield opened.database
    await opened.close()


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(SqlRepository(database))


@pytest.fixture
async def rival(migrated_postgres_dsn: str) -> AsyncIterator[Any]:
    """A connection that is not Loom's."""
    connection = await asyncpg.connect(plain_dsn(migrated_postgres_dsn))
    yield connection
    await connection.close()
