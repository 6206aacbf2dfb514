"""``Loom``: the application, where everything is put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import Token
from types import TracebackType
from typing import Any, Self

from loom.authoring.lint.at_start import check_order
from loom.authoring.registry import Registry
from loom.authoring.workflow import CURRENT_STARTER, Starter
from loom.client import Client
from loom.errors import ConfigurationError, DefinitionError
from loom.finding import FindsRuns
from loom.given import check_id, check_number, shown
from loom.history.payloads import PayloadCodec, PayloadConverter
from loom.identifiers import MICROS_PER_SECOND, RunId
from loom.opened import Opened
from loom.runner.clock import Clock, SystemClock
from loom.runner.closings import Closings
from loom.runner.leases import LeaseKeeper
from loom.runner.options import RunnerOptions
from loom.runner.outside import OutsideActivities
from loom.runner.queries import Serving
from loom.settings import Settings
from loom.starting import StartsRuns
from loom.starts import Starts
from loom.storage.store import Store, open_store
from loom.worker import Worker


class Loom(StartsRuns, FindsRuns):
    """An application: one database, and what is done with it.

    ``async with Loom("sqlite:///loom.db") as app:`` opens the database and closes it again. Any
    number of them may be open in one process.

    Args:
        dsn: where runs are stored; by default ``LOOM_DSN``, else ``./workflows.db``.
        settings: everything else; by default from ``LOOM_*`` in the environment.
        codecs: applied to every payload before it is stored, for example to encrypt it. Workers
            and clients that share runs must share them.
    """

    _lease_keeper: type[LeaseKeeper] = LeaseKeeper
    _workers_may_idle = False

    def __init__(
        self,
        dsn: str | None = None,
        *,
        settings: Settings | None = None,
        codecs: Sequence[PayloadCodec] = (),
    ) -> None:
        self.settings = _settings(settings)
        self.dsn = _dsn(dsn, self.settings)
        self._converter = PayloadConverter(codecs)
        self._codecs = self._converter.codecs
        self._closings = Closings()
        self._workers: list[Worker] = []
        self._starter_token: Token[Starter] | None = None

    async def __aenter__(self) -> Self:
        if self._opened is not None:
            raise ConfigurationError("This Loom is open already; make another for another use.")
        self._opened = await self._open()
        self._starter_token = CURRENT_STARTER.set(self._start)
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        closing = asyncio.create_task(self._close(self._open_parts()), name="loom-close")
        self._forget_starter()
        # Whoever waits for it may be cancelled: it goes on, for nobody else would do it.
        await asyncio.shield(closing)

    async def _close(self, opened: Opened) -> None:
        try:
            for worker in tuple(self._workers):
                await worker.close()
        finally:
            self._opened = None
            try:
                await opened.starts.drain()
            finally:
                await opened.store.close()

    def _forget_starter(self) -> None:
        token, self._starter_token = self._starter_token, None
        # Left in another task than it was entered, as fixtures are, there is nothing to undo here.
        if token is not None:
            with suppress(ValueError):
                CURRENT_STARTER.reset(token)

    def worker(
        self,
        *,
        workflows: Iterable[type[Any]] = (),
        activities: Iterable[Callable[..., Any]] = (),
        queue: str = "default",
        concurrency: int | None = None,
    ) -> Worker:
        """A worker for these workflows and activities; it works inside ``async with``.

        Args:
            queue: whose runs and activities it takes.
            concurrency: how many activities of each kind, ``async`` and plain, it runs at a time;
                by default ``LOOM_CONCURRENCY`` and ``LOOM_THREADS``. Of those in processes never
                more than ``LOOM_PROCESSES``.

        Raises:
            DefinitionError: nothing is given, or what is no workflow or activity; two share a
                name; or a workflow's code goes through a set, so that it would not replay.
            ConfigurationError: the concurrency is not from 1 to 1,000,000.
            PayloadError: no store could hold the queue's name.
        """
        opened = self._open_parts()
        registry = Registry(workflows, activities)
        if not registry and not self._workers_may_idle:
            raise DefinitionError(
                "This worker would have nothing to do: give it workflows=[...], activities=[...] "
                "or both."
            )
        check_order((each.cls for each in registry.workflows.values()), self.settings.guards)
        return Worker(
            store=opened.store,
            registry=registry,
            converter=self._converter,
            closings=self._closings,
            clock=opened.clock,
            options=_runner_options(self.settings, concurrency),
            queue=check_id("queue", queue),
            on_started=self._workers.append,
            on_stopped=self._workers.remove,
            lease_keeper=self._lease_keeper,
        )

    # --- activities that are completed from outside ---

    async def complete_activity(
        self, token: str, result: Any = None, *, activity: Callable[..., Any] | None = None
    ) -> None:
        """Complete the attempt that raised ``CompleteLater``, from any process, at any time.

        Args:
            token: its ``activity_info().task_token``.
            activity: the activity, so that the result is checked against the type it declares.

        Raises:
            ActivityClosedError: the attempt is over; nothing was written.
            PayloadError: the result cannot be stored, or does not fit, or the token is none.
            StoreUnavailableError: the outcome is unknown. Repeating it is safe, and says
                ``ActivityClosedError`` if it had been written.
        """
        await self._open_parts().outside.complete(token, result, activity)

    async def fail_activity(self, token: str, error: BaseException | str) -> None:
        """Fail the attempt that raised ``CompleteLater``, and the activity with it.

        Retry policies judge what happens in a worker. From outside it is tried again when the error
        is an ``ActivityError`` with ``retry_after``. Raises as ``complete_activity``.
        """
        await self._open_parts().outside.fail(token, error)

    async def heartbeat_activity(self, token: str, details: Any = None) -> None:
        """Say that the attempt which raised ``CompleteLater`` is alive, and how far it is: what
        ``loom.heartbeat`` does inside of it. Raises as ``complete_activity``."""
        await self._open_parts().outside.heartbeat(token, details)

    # --- opening ---

    async def _open(self) -> Opened:
        store = await self._open_store()
        try:
            clock = self._make_clock()
            await clock.synchronise(store.repository)
        except BaseException:
            # There is no application yet, whose end would close it.
            await store.close()
            raise
        client = Client(
            store=store,
            converter=self._converter,
            closings=self._closings,
            clock=clock,
            is_worked_on_here=self._is_worked_on_here,
            workers=self._serving(),
        )
        starts = Starts(
            store=store,
            converter=self._converter,
            clock=clock,
            client=client,
            workers=self._workers,
        )
        outside = OutsideActivities(store.repository, store.notifier, self._converter, clock)
        return Opened(store, clock, client, starts, outside)

    async def _open_store(self) -> Store:
        return await open_store(self.dsn)

    def _serving(self) -> Iterable[Serving]:
        """Who answers queries; looked through at each."""
        return self._workers

    def _make_clock(self) -> Clock:
        return SystemClock()

    def _is_worked_on_here(self, run_id: RunId) -> bool:
        return any(worker.owns(run_id) for worker in self._workers)


def _settings(given: object) -> Settings:
    if given is None:
        return Settings.load()
    if not isinstance(given, Settings):
        raise ConfigurationError(
            f"settings={shown(given)} are none: give a loom.Settings(...), or leave them to the "
            "environment."
        )
    return given


def _dsn(given: object, settings: Settings) -> str:
    # An empty one is no default: it is a variable that somebody forgot to set.
    if given is None:
        return settings.dsn
    if not isinstance(given, str):
        raise ConfigurationError(
            f"dsn={shown(given)} is no text: it should look like sqlite:///file.db or "
            "postgresql://user@host/name."
        )
    return given


def _runner_options(settings: Settings, concurrency: int | None) -> RunnerOptions:
    if concurrency is not None:
        check_number("concurrency", concurrency, least=1)

    def micros(seconds: float) -> int:
        return round(seconds * MICROS_PER_SECOND)

    return RunnerOptions(
        lease=micros(settings.lease_seconds),
        stall=micros(settings.stall_seconds),
        poll=micros(settings.poll_seconds),
        shutdown_grace=micros(settings.shutdown_grace_seconds),
        concurrency=concurrency or settings.concurrency,
        threads=concurrency or settings.threads,
        # A process takes memory of its own: those are not multiplied by what is meant for others.
        processes=min(concurrency or settings.processes, settings.processes),
        max_owned_runs=settings.max_owned_runs,
        max_cached_runs=settings.max_cached_runs,
        max_lost_attempts=settings.max_lost_attempts,
        max_lost_owners=settings.max_lost_owners,
        guards=settings.guards,
        slow_turn=micros(settings.slow_turn_seconds),
        gc_threshold=settings.gc_threshold,
    )
