"""What goes with a repository: the notifier, renewing leases from another thread, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from loom.storage.store import Store
from loom.testing.conformance.scene import ALICE, BOB, LEASE, NOW, Scene, held_by

PATIENCE = 30.0


async def in_another_thread[T](make: Callable[[], Coroutine[object, object, T]]) -> T:
    """The result of a coroutine on an event loop of its own, in a thread of its own."""
    return await asyncio.to_thread(lambda: asyncio.run(make()))


class StoreConformance:
    """An open store. Override ``store`` as ``RepositoryConformance.repository``."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    async def store(self) -> Store:
        """The store under test, freshly opened."""
        raise NotImplementedError("a conformance class needs its store fixture overridden")

    async def test_leases_are_renewed_from_another_thread(self, store: Store) -> None:
        scene = Scene(store.repository)
        task = await scene.start_claimed(ALICE)

        async def renew() -> bool:
            async with store.lease_repository() as leases:
                lost = await leases.extend_leases(held_by(task), ALICE, NOW + 9 * LEASE)
                return not lost and await leases.current_time() > 0

        assert await in_another_thread(renew)
        assert await scene.claim(BOB, NOW + 9 * LEASE - 1) == []

    async def test_leases_are_renewed_while_the_store_is_at_work(self, store: Store) -> None:
        scene = Scene(store.repository)
        task = await scene.start_claimed(ALICE)

        async def renew() -> None:
            async with store.lease_repository() as leases:
                for number in range(10):
                    until = NOW + LEASE + number
                    assert not await leases.extend_leases(held_by(task), ALICE, until)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            group.create_task(in_another_thread(renew))
            for _ in range(10):
                group.create_task(scene.start())
        assert (await scene.look(task.run)).lease_expires_at == NOW + LEASE + 9

    async def test_listeners_hear_of_what_is_published(self, store: Store) -> None:
        """In the end: one notification may be lost, which is why it is sent until it is heard."""
        heard = asyncio.Event()
        unsubscribe = store.notifier.subscribe("conformance", lambda topic: heard.set())
        async with asyncio.timeout(PATIENCE):
            while not heard.is_set():
                store.notifier.publish(["another", "conformance"])
                await asyncio.wait([asyncio.create_task(heard.wait())], timeout=0.1)
        unsubscribe()
        unsubscribe()

    async def test_closing_twice_is_fine(self, store: Store) -> None:
        await Scene(store.repository).start()
        await store.close()
        await store.close()

    async def test_an_unused_store_can_be_closed(self, store: Store) -> None:
        await store.close()
