"""The reference store beyond the port: how it is opened and shared."""

from __future__ import annotations

import asyncio
import threading
from uuid import uuid4

import pytest

from loom.errors import ConfigurationError
from loom.history.status import RunStatus
from loom.storage.memory import open_store
from loom.storage.records import Effects, EventRecord, NewRun
from loom.storage.store import Store


def new_run(workflow_id: str) -> NewRun:
    events = [EventRecord(1, "WORKFLOW_STARTED", 1, 0, b"")]
    return NewRun(workflow_id, "1" * 32, "order", "1", "q", Effects(RunStatus.RUNNING, 0, events))


async def holds(store: Store, workflow_id: str) -> bool:
    return await store.repository.find_run(workflow_id) is not None


async def test_a_store_without_a_name_is_private() -> None:
    one, two = await open_store("memory://"), await open_store("memory://")
    await one.repository.start_runs([new_run("w")])
    assert await holds(one, "w")
    assert not await holds(two, "w")


async def test_a_store_is_shared_by_its_name() -> None:
    name = uuid4().hex
    one, two = await open_store(f"memory://{name}"), await open_store(f"memory://{name}")
    other = await open_store(f"memory://{name}-other")
    heard: list[str] = []
    two.notifier.subscribe("topic", heard.append)
    await one.repository.start_runs([new_run("w")])
    one.notifier.publish(["topic"])
    assert await holds(two, "w")
    assert heard == ["topic"]
    assert not await holds(other, "w")


async def test_a_shared_store_outlives_its_closing() -> None:
    dsn = f"memory://{uuid4().hex}"
    one = await open_store(dsn)
    await one.repository.start_runs([new_run("w")])
    await one.close()
    await one.close()
    assert await holds(await open_store(dsn), "w")


@pytest.mark.parametrize("dsn", ["", "memory", "memory:", "sqlite:///x", "memory:/x"])
async def test_another_dsn_is_refused(dsn: str) -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        await open_store(dsn)


async def test_leases_can_be_renewed_from_another_thread() -> None:
    store = await open_store("memory://")
    times: list[int] = []

    async def ask() -> None:
        async with store.lease_repository() as leases:
            times.append(await leases.current_time())

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert len(times) == 1


async def test_every_call_lets_others_run() -> None:
    """Else a loop that looks until something is there would never see it."""
    store = await open_store("memory://")

    async def start() -> None:
        await store.repository.start_runs([new_run("w")])

    starting = asyncio.create_task(start())
    async with asyncio.timeout(10):
        while not await holds(store, "w"):
            pass
    await starting
