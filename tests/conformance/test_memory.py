"""The reference store keeps its own rules."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from loom.storage.memory import open_store
from loom.storage.repository import Repository
from loom.testing.conformance import RepositoryConformance


class TestMemoryStore(RepositoryConformance):
    @pytest.fixture
    async def repository(self, memory_dsn: str) -> AsyncIterator[Repository]:
        store = await open_store(memory_dsn)
        yield store.repository
        await store.close()
