"""What an environment runs in: one store, one time, and processes that may die."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from loom.identifiers import MICROS_PER_SECOND, Micros
from loom.storage.notifier import CALLED_OFF, InProcessNotifier, activity_topic, workflow_topic
from loom.storage.records import Leases
from loom.storage.store import Store
from loom.testing.crashes import COMMITS, CommitWatch, CrashMoment, describe
from loom.testing.obstacles import Obstacles
from loom.testing.processes import Call, ProcessStore, WorkerProcess
from loom.testing.virtual_clock import VirtualClock, VirtualLeaseKeeper
from loom.testing.virtual_time import VirtualTime
from loom.worker import Worker

_PATIENCE: Final = 5.0
"""Seconds of real time."""

_CHANGES: Final = COMMITS | {"extend_leases", "release_leases", "delete_runs"}

type Held = list[tuple[VirtualLeaseKeeper, Leases]]


class World:
    """The environment's own process, and the one of its worker.

    When the worker's process dies another takes its place, once the leases of the dead one have run
    out.
    """

    def __init__(self, store: Store, start: Micros, lease_seconds: float, watch: CommitWatch):
        self.time = VirtualTime(start)
        self.obstacles = Obstacles()
        self.clock = VirtualClock(self.time)
        """The environment's own."""
        self._notifier = _Notifier()
        self._repository = store.repository
        self._lease = round(lease_seconds * MICROS_PER_SECOND)
        self._watch = watch
        self._clocks = [self.clock]
        self._renewed: tuple[Micros, Held, int] | None = None
        self._is_confirmed = False
        self._process: WorkerProcess | None = None
        self._make_process: Callable[[VirtualClock, ProcessStore], WorkerProcess]
        self._restarts: list[asyncio.Task[None]] = []
        self.store = ProcessStore(store.repository, self._notifier, self._let_through)
        """The environment's own way to the store."""
        self.time.before_jump = self._before_jump
        self.time.is_hopeless = lambda: self.obstacles.block(self.time.watched)

    # --- the worker's process ---

    async def start(
        self, make_process: Callable[[VirtualClock, ProcessStore], WorkerProcess]
    ) -> None:
        """Start the worker; another like it whenever it has died."""
        self._make_process = make_process
        await self._start_worker()

    async def _start_worker(self) -> None:
        clock = VirtualClock(self.time)
        process: WorkerProcess

        async def intercept(method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
            return await self._watch_over(process, method, call, arguments)

        store = ProcessStore(self._repository, self._notifier, intercept)
        process = self._process = self._make_process(clock, store)
        self._clocks.append(clock)
        await process.start()

    async def stop(self) -> None:
        """Let the worker stop as one that is asked to."""
        while self._restarts:
            await self._restarts.pop()
        if self._process is not None:
            await self._process.stop()

    @property
    def worker(self) -> Worker | None:
        """The worker that lives now, if it has started."""
        return None if self._process is None else self._process.worker

    # --- between a process and the store ---

    async def _let_through(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        with self.clock.holding():
            self._is_confirmed &= method not in _CHANGES
            return await call()

    async def _watch_over(
        self, process: WorkerProcess, method: str, call: Call, arguments: tuple[Any, ...]
    ) -> Any:
        process.check_alive()
        with process.clock.holding():
            crash = None
            if method in COMMITS and arguments[0]:
                crash = self._watch.take(describe(method, arguments[0], self.obstacles.names))
            if crash is CrashMoment.BEFORE:
                self._crash(process)
            with process.outside():
                answer = await call()
            if crash is CrashMoment.AFTER:
                self._crash(process)
            # It may have died over something else meanwhile.
            process.check_alive()
            if method in _CHANGES or getattr(answer, "tasks", None):
                self._is_confirmed = False
            self.obstacles.note(method, arguments, answer)
            return answer

    # --- crashes ---

    def _crash(self, process: WorkerProcess) -> None:
        """Let a worker's process die, in the middle of whatever it does. Does not return."""
        self.time.take_hold()
        dying = process.die()
        restart = asyncio.get_running_loop().create_task(
            self._restart(process, dying), context=process.parent_context.copy()
        )
        self._restarts.append(restart)
        process.check_alive()

    async def _restart(self, dead: WorkerProcess, dying: list[asyncio.Task[Any]]) -> None:
        try:
            # What was cancelled in it may be cleaning up, though not for ever, and what it has
            # asked of the store comes before anything that its successor asks.
            if dying:
                await asyncio.wait(dying, timeout=_PATIENCE)
            expires_at = self.time.now + self._lease
            for keeper in dead.clock.keepers:
                await keeper.bring_forward(self._repository, expires_at)
            self._clocks.remove(dead.clock)
            for keeper, held in self._held():
                await keeper.renew(held, expires_at)
            self._renewed = None
            self.time.jump(expires_at)
            await self._start_worker()
            self._stir()
        finally:
            self.time.let_go()

    # --- leases ---

    def _before_jump(self, horizon: Micros) -> Awaitable[None] | None:
        """Let the workers look for work once more, and renew what is held until something is known
        to be due."""
        held = self._held()
        # A keeper that has had a look has left its leases with their usual time.
        renewed = horizon, held, sum(keeper.looks for keeper, _ in held)
        if held and self._renewed != renewed:
            # What the store has hinted at may be no more than the ends of these leases.
            self._renewed, self._is_confirmed = renewed, False
            return self._renew(held, horizon)
        if not self._is_confirmed:
            # While others write, a look may pass over what they have locked, and what a worker has
            # not found it would look for again after a while.
            self._is_confirmed = True
            return self._look_again()
        self._is_confirmed = False
        return None

    async def _look_again(self) -> None:
        self._notifier.publish_work()

    async def _renew(self, held: Held, horizon: Micros) -> None:
        for keeper, leases in held:
            await keeper.renew(leases, horizon)

    def _held(self) -> Held:
        keepers = [keeper for clock in self._clocks for keeper in clock.keepers]
        return [(keeper, held) for keeper in keepers if (held := keeper.held())]

    def _stir(self) -> None:
        """Let everybody have another look."""
        self._notifier.publish_all()
        for wait in tuple(self.time.waits):
            wait.end()


class _Notifier(InProcessNotifier):
    def publish_work(self) -> None:
        """Tell all workers that there may be something to do."""
        kinds = (workflow_topic(""), activity_topic(""))
        self.publish(topic for topic in tuple(self._listeners) if topic.startswith(kinds))

    def publish_all(self) -> None:
        """Tell everybody that there may be something to do."""
        # What is not wanted any more shows as leases are renewed.
        self.publish(topic for topic in tuple(self._listeners) if topic != CALLED_OFF)
