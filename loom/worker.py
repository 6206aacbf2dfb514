"""A worker: runs workflows and activities until it is asked to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from loom.authoring.registry import Registry
from loom.engine.instance import WorkflowInstance
from loom.errors import ConfigurationError
from loom.history.payloads import PayloadConverter
from loom.identifiers import MICROS_PER_SECOND, RunId, new_id
from loom.runner.activity_tasks import ActivityTasks
from loom.runner.clock import Clock
from loom.runner.closings import Closings
from loom.runner.context import WorkerContext
from loom.runner.garbage import CollectorPace
from loom.runner.leases import LeaseKeeper
from loom.runner.options import RunnerOptions
from loom.runner.ownership import Ownership
from loom.runner.slow_turns import SlowTurnWatch
from loom.runner.starts import LocalStarter
from loom.runner.task_loop import TaskLoop
from loom.runner.turns import Turns
from loom.runner.workflow_tasks import WorkflowTasks
from loom.storage.notifier import CALLED_OFF, MESSAGES, activity_topic, workflow_topic
from loom.storage.records import Leases, RunRecord
from loom.storage.store import Store

_log = logging.getLogger("loom.worker")

_LONG_POLL: Final = 5.0
"""Seconds between two looks of an idle worker that is told of everything anyway."""

_PATIENCE: Final = 5.0
"""Seconds that handing back may take beyond the grace that activities are given."""


class Worker:
    """Takes runs and activities of one queue and works on them.

    Made by ``Loom.worker``. As ``async with app.worker(...)`` it works while the block runs;
    ``await worker.run()`` works until ``stop()`` is called.
    """

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        converter: PayloadConverter,
        closings: Closings,
        clock: Clock,
        options: RunnerOptions,
        queue: str,
        on_started: Callable[[Worker], None],
        on_stopped: Callable[[Worker], None],
        lease_keeper: type[LeaseKeeper] = LeaseKeeper,
    ) -> None:
        self.id = new_id()
        self.queue = queue
        self.registry = registry
        self._store = store
        self._options = options
        self._on_started = on_started
        self._on_stopped = on_stopped
        self._stop_asked = asyncio.Event()
        self._unsubscribe: list[Callable[[], None]] = []
        self._loop_tasks: list[asyncio.Task[None]] = []
        self._started = False
        self._closing: asyncio.Task[None] | None = None
        context = WorkerContext(
            owner=self.id,
            queue=queue,
            registry=registry,
            repository=store.repository,
            notifier=store.notifier,
            converter=converter,
            closings=closings,
            clock=clock,
            options=options,
            slow_turns=SlowTurnWatch(options.slow_turn),
        )
        self._slow_turns = context.slow_turns
        self._collector = CollectorPace(options.gc_threshold)
        self._owned = Ownership(context)
        self._activities = ActivityTasks(context)
        turns = Turns(context, self._activities)
        self._workflows = WorkflowTasks(context, self._owned, self._activities, turns)
        self.starter = LocalStarter(context, self._owned, self._workflows, turns)
        self._leases = lease_keeper(
            held=context.held,
            owner=self.id,
            clock=clock,
            options=options,
            connect=store.lease_repository,
            on_lost=self._leases_lost,
        )
        self._workflow_loop = TaskLoop(
            "workflow tasks", self._workflows.claim, clock, self._longest_wait
        )
        self._activity_loop = TaskLoop(
            "activity tasks", self._activities.claim, clock, self._longest_wait
        )
        self._connect_parts()

    def accepts_start(self, name: str, version: str, queue: str) -> bool:
        """Whether a run can be started right here."""
        return (
            self._started
            and not self._stop_asked.is_set()
            and queue == self.queue
            and (name, version) in self.registry.workflows
            and self._owned.room() > 0
        )

    def owns(self, run_id: RunId) -> bool:
        """Whether the run is being worked on here, so that its end will be heard of here."""
        return run_id in self._owned

    def live_instance(self, run: RunRecord) -> WorkflowInstance | None:
        """The run's coroutines, if they are here, between two turns, and where the record is."""
        return self._owned.live_instance(run)

    async def run(self) -> None:
        """Work until ``stop()`` is called, then hand everything back."""
        async with self:
            await self._stop_asked.wait()

    def stop(self) -> None:
        """Ask the worker to stop; ``run()`` then returns. Safe to call from a signal handler of
        the event loop."""
        self._stop_asked.set()

    async def __aenter__(self) -> Self:
        if self._started:
            raise ConfigurationError(
                "This worker has worked already; make another with app.worker."
            )
        self._leases.start()
        self._slow_turns.start()
        self._collector.start()
        notifier = self._store.notifier
        for topic, loop in (
            (workflow_topic(self.queue), self._workflow_loop),
            (MESSAGES, self._workflow_loop),
            (activity_topic(self.queue), self._activity_loop),
        ):
            self._unsubscribe.append(notifier.subscribe(topic, loop.wake))
        self._unsubscribe.append(notifier.subscribe(CALLED_OFF, self._leases.look))
        for name, loop in (("workflows", self._workflow_loop), ("activities", self._activity_loop)):
            self._loop_tasks.append(asyncio.create_task(loop.run(), name=f"loom-{name}"))
        self._started = True
        self._on_started(self)
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop, and hand everything back. Closing twice is fine: both wait for the same end."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="loom-worker-close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._stop_asked.set()
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._workflow_loop.stop()
        self._activity_loop.stop()
        grace = self._options.shutdown_grace / MICROS_PER_SECOND
        try:
            async with asyncio.timeout(3 * grace + _PATIENCE):
                await self._hand_back(grace)
        except TimeoutError:
            _log.warning("not all was handed back in time: what is held here runs out by itself")
            self.abandon()
        finally:
            self._slow_turns.stop()
            self._collector.stop()
            await self._leases.stop()
            # Not before: the store stays open for as long as there are workers.
            self._on_stopped(self)
        # What was given back is anybody's at once: say so.
        self._store.notifier.publish([workflow_topic(self.queue), activity_topic(self.queue)])

    def abandon(self) -> None:
        """Work no more and leave everything as it is, as a process that dies: what is held runs out
        by itself."""
        self._stop_asked.set()
        self._slow_turns.stop()
        self._collector.stop()
        self._workflow_loop.stop()
        self._activity_loop.stop()
        self.starter.abandon()
        self._workflows.abandon()
        self._activities.abandon()

    async def _hand_back(self, grace: float) -> None:
        await asyncio.gather(*self._loop_tasks)
        await self.starter.finish()
        stopped = await self._activities.close(grace)
        await self._workflows.close(stopped)
        # Outcomes whose runs have been given back meanwhile, and which go through the store.
        await self._activities.finish(grace)

    def _connect_parts(self) -> None:
        self._activities.on_room = self._activity_loop.wake
        self._activities.tell_due_at(self._activity_loop.due_at)
        self._owned.on_released = self._workflow_loop.wake
        self._owned.on_due_at = self._workflow_loop.due_at

    def _longest_wait(self) -> float:
        poll = self._options.poll / MICROS_PER_SECOND
        return max(poll, _LONG_POLL) if self._store.notifier.crosses_processes else poll

    def _leases_lost(self, lost: Leases) -> None:
        self._workflows.lost(lost.runs)
        self._activities.lost(lost.tasks)
