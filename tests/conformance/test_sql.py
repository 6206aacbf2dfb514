"""The SQL stores keep the rules of the port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from loom.storage.repository import Repository
from loom.storage.sql import postgres, sqlite
from loom.testing.conformance import RepositoryConformance


class TestSqliteStore(RepositoryConformance):
    @pytest.fixture
    async def repository(self, migrated_sqlite_dsn: str) -> AsyncIterator[Repository]:
        store = await sqlite.open_store(migrated_sqlite_dsn)
        yield store.repository
        await store.close()


class TestPostgresStore(RepositoryConformance):
    @pytest.fixture
    async def repository(self, migrated_postgres_dsn: str) -> AsyncIterator[Repository]:
        store = await postgres.open_store(migrated_postgres_dsn)
        yield store.repository
        await store.close()
