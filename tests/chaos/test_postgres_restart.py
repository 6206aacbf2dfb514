"""A Postgres server that crashes and comes back while workers are at work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import loom
from tests.chaos.jobs import ACTIVITIES, WORKFLOWS, Mixed, Place
from tests.chaos.ledger import Ledger
from tests.conditions import eventually
from tests.databases import run_apart
from tests.postgres import (
    LocalServer,
    PostgresUnavailable,
    local_binaries,
    local_server,
    wheel_binaries,
)

COUNT = 20


@pytest.fixture(scope="module")
def own_server() -> Iterator[LocalServer]:
    """A server that nobody else minds to see crash."""
    from loom.storage.sql import migrations

    try:
        binaries = local_binaries()
    except PostgresUnavailable:
        try:
            binaries = wheel_binaries()
        except PostgresUnavailable as reason:
            pytest.skip(str(reason))
    with local_server(binaries) as server:
        run_apart(migrations.upgrade(server.dsn))
        yield server


@pytest.mark.postgres
@pytest.mark.timeout(120)
async def test_a_server_that_crashes_under_load_loses_nothing_that_was_acknowledged(
    own_server: LocalServer, tmp_path: Path
) -> None:
    Place.ledger = ledger = Ledger(tmp_path / "ledger")
    settings = loom.Settings(lease_seconds=1, max_lost_attempts=100)
    async with loom.Loom(own_server.dsn, settings=settings) as app:
        async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
            # Acknowledged, so nothing of it may be lost.
            handles = await asyncio.gather(*(app.start(Mixed, n) for n in range(COUNT)))
            await asyncio.gather(*(handle.signal("add", 1) for handle in handles))
            for crash in (1, 2):
                await eventually(lambda crash=crash: len(ledger.lines()) >= crash * COUNT)
                await asyncio.to_thread(own_server.stop, "immediate")
                await asyncio.to_thread(own_server.start)
            results = [await result_of(handle) for handle in handles]
        assert results == [n + 5 for n in range(COUNT)]
        for handle in handles:
            history = await handle.history()
            assert [event.sequence for event in history] == list(range(1, len(history) + 1))


async def result_of(handle: loom.WorkflowHandle[int]) -> int:
    while True:
        try:
            return await handle.result(60)
        except loom.StoreUnavailableError:
            await asyncio.sleep(0.05)
