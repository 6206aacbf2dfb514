"""A node: one process with an application, perhaps a worker, and clients; as far as one can be
played on a simulated loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import loom
from loom.identifiers import MICROS_PER_SECOND, Micros
from loom.runner.clock import Clock, SystemClock
from loom.runner.leases import LeaseKeeper
from loom.storage.store import Store
from loom.worker import Worker
from tests.simulation.loop import STRAND, SimulatedLoop, Strand
from tests.simulation.network import Network, NodeNotifier, NodeStore
from tests.simulation.programs import Program
from tests.simulation.world import ACTIVITIES


class NodeClock(SystemClock):
    """The runner's own clock, on a steady clock that may be made to jump."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.error: Micros = 0
        super().__init__()

    def _wall(self) -> Micros:
        return self._loop.micros

    def _steady(self) -> Micros:
        return self._loop.micros + self.error


class _Home:
    """A node's event loop, as its other threads know it."""

    def __init__(self, loop: SimulatedLoop, context: contextvars.Context) -> None:
        self._loop = loop
        self._context = context

    def call_soon_threadsafe(self, callback: Callable[..., Any]) -> asyncio.Handle:
        return self._loop.call_soon(callback, context=self._context)

    def call_later(self, delay: float, callback: Callable[..., Any]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay, callback, context=self._context)


class NodeLeaseKeeper(LeaseKeeper):
    """The runner's own, whose thread is a strand."""

    def start(self) -> None:
        loop: Any = asyncio.get_running_loop()
        leases = STRAND.get().leases
        assert leases is not None
        self._loop: Any = _Home(loop, contextvars.copy_context())
        self._loop_thread = threading.get_ident()
        self._pulse()
        self._renewing = loop.create_task(self._renew_forever(), context=loop.context(leases))

    def _steady(self) -> float:
        return asyncio.get_running_loop().time()


class NodeApp(loom.Loom):
    _lease_keeper = NodeLeaseKeeper

    def __init__(self, settings: loom.Settings, store: NodeStore, clock: NodeClock) -> None:
        super().__init__(settings=settings)
        self._store = store
        self._clock = clock

    async def _open_store(self) -> Store:
        return self._store

    def _make_clock(self) -> Clock:
        return self._clock


class Node:
    """One life of a process."""

    def __init__(
        self, network: Network, name: str, settings: loom.Settings, *, has_worker: bool
    ) -> None:
        self.loop = loop = network.loop
        self.main = loop.strand(name)
        self.main.leases = loop.strand(f"{name}, leases")
        self.main.threads = loop.strand(f"{name}, threads")
        self._context = loop.context(self.main)
        self._has_worker = has_worker
        self.notifier = NodeNotifier(network, self.main)
        self.store = NodeStore(network, self.notifier)
        self.clock = NodeClock(loop)
        self.app = NodeApp(settings, self.store, self.clock)
        self.worker: Worker | None = None
        self.is_up = False
        self.is_over = False
        self.playing: dict[object, asyncio.Task[Any]] = {}
        """The clients that are part of it."""

    @property
    def strands(self) -> list[Strand]:
        others = (self.main.leases, self.main.threads)
        return [self.main, *(strand for strand in others if strand is not None)]

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let it do something."""
        return self.loop.create_task(work, context=self._context.copy())

    async def open(self) -> None:
        while True:
            try:
                await self.app.__aenter__()
                break
            except loom.StoreUnavailableError:
                await asyncio.sleep(0.1)
        if self._has_worker:
            self.worker = self.app.worker(workflows=[Program], activities=ACTIVITIES)
            await self.worker.__aenter__()
        self.is_up = True

    async def close(self) -> None:
        """End as a process that is asked to."""
        self.is_up = False
        try:
            await self.app.__aexit__(None, None, None)
        finally:
            self.end()

    def end(self) -> None:
        """Gone: nothing of it happens any more."""
        if self.is_over:
            return
        self.is_over, self.is_up = True, False
        self.notifier.leave()
        for strand in self.strands:
            self.loop.kill(strand)

    def hold(self, *, whole: bool) -> Callable[[], None]:
        """Let it stand still; returns what lets it go on."""
        held = self.strands if whole else [self.main]
        for strand in held:
            self.loop.hold(strand)

        def let_go() -> None:
            for strand in held:
                self.loop.let_go(strand)

        return let_go

    def jump(self, seconds: float) -> None:
        self.clock.error += round(seconds * MICROS_PER_SECOND)

    def sweep(self) -> None:
        """When all is over: end the coroutines of its runs where they stand."""
        if self.worker is not None:
            self.worker.abandon()
