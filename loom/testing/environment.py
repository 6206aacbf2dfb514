"""``WorkflowEnvironment``: an application for tests, in virtual time, with a worker of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from loom.app import Loom
from loom.authoring.registry import Registry
from loom.durations import Duration, micros
from loom.errors import ConfigurationError, LoomError
from loom.history.payloads import PayloadCodec
from loom.identifiers import Micros
from loom.runner.clock import Clock
from loom.runner.queries import Serving
from loom.settings import Settings
from loom.storage.store import Store, open_store
from loom.testing.crashes import CommitWatch, current_watch
from loom.testing.mocks import Activities, Call
from loom.testing.obstacles import Explainer
from loom.testing.processes import ProcessLoom, ProcessStore, WorkerProcess
from loom.testing.stores import default_dsn
from loom.testing.virtual_clock import CURRENT_WORK, VirtualClock, VirtualLeaseKeeper
from loom.testing.world import World
from loom.worker import Worker

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class WorkflowEnvironment(Loom):
    """An application for a test, whose time is skipped when nothing else can happen.

    ``async with WorkflowEnvironment(workflows=[Order], activities=[charge]) as env:`` opens it; it
    has a worker, and everything that a ``Loom`` has. While a test waits for a result, a month that
    a workflow sleeps takes a millisecond.

    Args:
        workflows: those that its worker runs.
        activities: those that its worker runs as they are.
        mocks: outcomes by activity, in whose place they come. A function is called with the
            activity's arguments, an exception is raised, a list gives one outcome after the other,
            ``loom.testing.HANGS`` never ends, and anything else is returned.
        allow_unmocked: whether activities without a mock may be run; else they fail.
        start_time: the moment at which time begins, with a time zone; by default now.
        dsn: where runs are stored; by default in memory, for this environment alone, or wherever
            pytest's ``--loom-store`` says.
        queue: whose runs and activities its worker takes.
        settings: as for ``Loom``.
        codecs: as for ``Loom``.

    Raises:
        DefinitionError: something given is no workflow or activity, or a mock cannot be called as
            its activity is.
    """

    _lease_keeper = VirtualLeaseKeeper

    def __init__(
        self,
        *,
        workflows: Iterable[type[Any]] = (),
        activities: Iterable[Callable[..., Any]] = (),
        mocks: Mapping[Callable[..., Any], Any] | None = None,
        allow_unmocked: bool = True,
        start_time: datetime | None = None,
        dsn: str | None = None,
        queue: str = "default",
        settings: Settings | None = None,
        codecs: Sequence[PayloadCodec] = (),
    ) -> None:
        # The end of the block is no reason to let activities go on, and how long a dead worker's
        # runs stay out of reach is of no interest to most tests.
        settings = settings or Settings.load(lease_seconds=1.0, shutdown_grace_seconds=0.0)
        super().__init__(dsn or default_dsn(), settings=settings, codecs=codecs)
        self._start_time = _micros(start_time or datetime.now(UTC))
        self._queue = queue
        self._workflows = tuple(workflows)
        self._activities = Activities(activities, mocks or {}, allow_unmocked=allow_unmocked)
        self._watch = current_watch() or CommitWatch()
        self._watch.environments += 1
        self._world: World | None = None

    async def __aenter__(self) -> Self:
        if self._world is not None:
            raise ConfigurationError("This environment is open already; make another.")
        self._inner = await open_store(self.dsn)
        try:
            lease = self.settings.lease_seconds
            world = World(self._inner, self._start_time, lease, self._watch)
            self._world = world
            await super().__aenter__()
        except BaseException:
            await self._inner.close()
            raise
        try:
            world.time.explain = self._explainer().explain
            await world.start(self._make_process)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._open_world().stop()
            await super().__aexit__(error_type, error, trace)
        finally:
            self._world = None
            await self._inner.close()

    # --- time ---

    @property
    def now(self) -> datetime:
        """The moment that it is in the environment (UTC)."""
        return _EPOCH + timedelta(microseconds=self._open_world().time.now)

    async def advance(self, delta: Duration) -> None:
        """Let time pass (``timedelta`` or seconds), and whatever is due meanwhile happen.

        Returns when nothing goes on any more. For tests; what an activity does takes time by
        ``sleep``.
        """
        if CURRENT_WORK.get(None) is not None:
            raise LoomError("advance() was called by an activity, which goes on meanwhile.")
        await self.sleep(delta)
        await self._open_world().time.settled()

    async def sleep(self, delta: Duration) -> None:
        """Wait until so much time has passed (``timedelta`` or seconds).

        In a mock, it makes the activity take that long. In a test, it stands for whatever happens
        beside the workflows in the meantime.
        """
        length = micros("The time to sleep", delta)
        world, over = self._open_world(), asyncio.Event()
        alarm = world.clock.call_at(world.time.now + length, over.set)
        work = CURRENT_WORK.get(None)
        try:
            with world.time.watching() if work is None else work.resting():
                await over.wait()
        finally:
            alarm.cancel()

    # --- activities ---

    def calls(self, activity: Callable[..., Any]) -> list[Call]:
        """The attempts of an activity that have begun, in order, mocked or not.

        Raises ``DefinitionError`` when the environment was not given the activity.
        """
        return self._activities.calls(activity)

    # --- opening ---

    async def _open_store(self) -> Store:
        return self._open_world().store

    def _serving(self) -> Iterable[Serving]:
        return _Serving(self._workers, self._open_world())

    def _make_clock(self) -> Clock:
        return self._open_world().clock

    def _make_process(self, clock: VirtualClock, store: ProcessStore) -> WorkerProcess:
        app = ProcessLoom(self.dsn, store, clock, settings=self.settings, codecs=self._codecs)
        return WorkerProcess(app, clock, self._make_worker)

    def _make_worker(self, app: Loom) -> Worker:
        return app.worker(
            workflows=self._workflows, activities=self._activities.functions, queue=self._queue
        )

    def _explainer(self) -> Explainer:
        registry = Registry(self._workflows, self._activities.functions)
        return Explainer(self, registry, self._inner.repository, self._converter)

    def _open_world(self) -> World:
        if self._world is None:
            raise ConfigurationError(
                "This environment is not open: use it inside `async with WorkflowEnvironment(...)`."
            )
        return self._world


class _Serving:
    """All workers that share the environment's time."""

    def __init__(self, workers: Sequence[Worker], world: World) -> None:
        self._workers = workers
        self._world = world

    def __iter__(self) -> Iterator[Serving]:
        yield from self._workers
        if self._world.worker is not None:
            yield self._world.worker


def _micros(moment: datetime) -> Micros:
    if moment.tzinfo is None:
        raise ConfigurationError(f"start_time={moment!r} needs a time zone, for example UTC.")
    return (moment - _EPOCH) // timedelta(microseconds=1)
