"""An open application on each built-in store in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import loom


@pytest.fixture
async def app(any_dsn: str) -> AsyncIterator[loom.Loom]:
    async with loom.Loom(any_dsn) as app:
        yield app
