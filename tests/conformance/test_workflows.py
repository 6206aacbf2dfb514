"""Whole workflows on each built-in store, and on one that another package brings."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from loom.app import open_store
from loom.storage.memory import MemoryRepository
from loom.testing.conformance import WorkflowsConformance

STORE = """\
from loom.storage.memory import open_store as open_memory


async def open_store(dsn):
    return await open_memory(dsn.replace("kept://", "memory://kept-"))
"""


class TestWorkflows(WorkflowsConformance):
    @pytest.fixture
    def dsn(self, any_dsn: str) -> str:
        return any_dsn


class TestWorkflowsOnAStoreFromOutside(WorkflowsConformance):
    @pytest.fixture
    def dsn(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """As the package looks once it is installed."""
        metadata = tmp_path / "kept_store-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: kept-store\nVersion: 1.0\n"
        )
        (metadata / "entry_points.txt").write_text("[loom.stores]\nkept = kept_store:open_store\n")
        (tmp_path / "kept_store.py").write_text(STORE)
        monkeypatch.syspath_prepend(str(tmp_path))
        return f"kept://{uuid4().hex}"

    async def test_its_entry_point_is_what_serves_it(self, dsn: str) -> None:
        store = await open_store(dsn)
        assert isinstance(store.repository, MemoryRepository)
        await store.close()
