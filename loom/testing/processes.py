"""A worker in a process of its own, as far as one can be played within the test's: with its own
application, clock and way to the store, all of which end at once when it dies."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Final

from loom.app import Loom
from loom.history.payloads import PayloadCodec
from loom.runner.clock import Clock
from loom.settings import Settings
from loom.storage.notifier import Notifier
from loom.storage.repository import LeaseRepository, Repository
from loom.storage.store import Store
from loom.testing.virtual_clock import VirtualClock, VirtualLeaseKeeper
from loom.worker import Worker

type Call = Callable[[], Awaitable[Any]]
type Intercept = Callable[[str, Call, tuple[Any, ...]], Awaitable[Any]]
"""What stands between a process and the store: it is given a method's name, the call itself and its
arguments, and gives the answer."""

_PROCESS: Final[ContextVar[object]] = ContextVar("loom_testing_process")
"""Which process a task belongs to: all that it starts inherits this."""


def _delegated(name: str) -> Any:
    async def method(self: Any, *args: Any, **options: Any) -> Any:
        call = getattr(self._inner, name)
        return await self._intercept(name, lambda: call(*args, **options), args)

    return method


class _Intercepted:
    def __init__(self, inner: LeaseRepository, intercept: Intercept) -> None:
        self._inner = inner
        self._intercept = intercept


InterceptedRepository: Any = type(
    "InterceptedRepository",
    (_Intercepted, Repository),
    # All of the port, also what a store need not write itself.
    {name: _delegated(name) for name in dir(Repository) if not name.startswith("_")},
)
"""A repository whose calls go through an ``Intercept``."""


class ProcessStore(Store):
    """The environment's database as one process sees it; closing it leaves it to the others."""

    def __init__(self, repository: Repository, notifier: Notifier, intercept: Intercept) -> None:
        self.repository = InterceptedRepository(repository, intercept)
        self.notifier = notifier

    @asynccontextmanager
    async def lease_repository(self) -> AsyncIterator[LeaseRepository]:
        yield self.repository

    async def close(self) -> None:
        """Nothing to give back."""


class ProcessLoom(Loom):
    """An application of one process, in virtual time."""

    _lease_keeper = VirtualLeaseKeeper
    # A test may have nothing but time.
    _workers_may_idle = True

    def __init__(
        self,
        dsn: str,
        store: ProcessStore,
        clock: VirtualClock,
        *,
        settings: Settings,
        codecs: Iterable[PayloadCodec],
    ) -> None:
        super().__init__(dsn, settings=settings, codecs=tuple(codecs))
        self._store = store
        self._clock = clock

    async def _open_store(self) -> Store:
        return self._store

    def _make_clock(self) -> Clock:
        return self._clock


class WorkerProcess:
    """One worker, which can die like a process that is killed."""

    def __init__(
        self, app: Loom, clock: VirtualClock, make_worker: Callable[[Loom], Worker]
    ) -> None:
        self.clock = clock
        self.is_dead = False
        self._app = app
        self._make_worker = make_worker
        self.worker: Worker | None = None
        self._in_store: set[asyncio.Task[Any]] = set()
        self.parent_context = contextvars.copy_context()
        self._context = self.parent_context.copy()
        self._context.run(_PROCESS.set, self)

    async def start(self) -> None:
        await self._within(self._start())

    async def _start(self) -> None:
        await self._app.__aenter__()
        self.worker = await self._make_worker(self._app).__aenter__()

    async def stop(self) -> None:
        """Stop as a worker that is asked to: everything is handed back."""
        await self._within(self._app.__aexit__(None, None, None))

    async def _within(self, work: Any) -> None:
        await asyncio.create_task(work, context=self._context)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Let what begins meanwhile be no part of the process: the store's own work, which goes on
        when a caller dies."""
        task, token = asyncio.current_task(), _PROCESS.set(None)
        assert task is not None
        self._in_store.add(task)
        try:
            yield
        finally:
            self._in_store.discard(task)
            _PROCESS.reset(token)

    def check_alive(self) -> None:
        """End what calls this when the process is dead."""
        if self.is_dead:
            raise asyncio.CancelledError("its process is dead")

    def die(self) -> list[asyncio.Task[Any]]:
        """Stop as a process that is killed: nothing of it ever happens again.

        Coroutines cannot be frozen for good, so that what its activities were doing is cancelled;
        the tasks that may take a while to end by that are returned, as are those that wait for the
        store: what is under way there goes on.
        """
        self.is_dead = True
        self.clock.die()
        if self.worker is not None:
            self.worker.abandon()
        tasks = [t for t in asyncio.all_tasks() if t.get_context().get(_PROCESS) is self]
        for task in tasks:
            task.cancel()
        return [*tasks, *self._in_store]
