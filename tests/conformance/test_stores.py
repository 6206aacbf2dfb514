"""Each built-in store, opened by its DSN as an application does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from loom.app import open_store
from loom.storage.store import Store
from loom.testing.conformance import StoreConformance


class TestStores(StoreConformance):
    @pytest.fixture
    async def store(self, any_dsn: str) -> AsyncIterator[Store]:
        store = await open_store(any_dsn)
        yield store
        await store.close()
