"""What every class of the suite is: the fixture to override, and the scene made from it."""

from __future__ import annotations

import pytest

from loom.storage.repository import Repository
from loom.testing.conformance.scene import Scene


class Conformance:
    """Tests of one part of the port. Override ``repository``; the rest follows."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    async def repository(self) -> Repository:
        """The repository under test, ready for use. The whole recipe, in a file of your own tests
        and with ``asyncio_mode = "auto"``::

            class TestMyStore(RepositoryConformance):
                @pytest.fixture
                async def repository(self, tmp_path):
                    store = await open_store(f"mystore:///{tmp_path}/loom")
                    yield store.repository
                    await store.close()
        """
        raise NotImplementedError("a conformance class needs its repository fixture overridden")

    @pytest.fixture
    def scene(self, repository: Repository) -> Scene:
        return Scene(repository)
