"""``VirtualClock``: virtual time as one process of an environment sees it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from contextvars import ContextVar
from typing import Final

from loom.identifiers import END_OF_TIME, MICROS_PER_SECOND, Micros, RunId
from loom.runner.clock import Clock
from loom.runner.leases import LeaseKeeper
from loom.storage.records import Leases
from loom.storage.repository import LeaseRepository
from loom.testing.virtual_time import VirtualAlarm, VirtualTime, Wait, expire


class Hold:
    """Something that goes on in a process, unless it rests or its process has died."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._resting = 0
        self._is_over = False
        time.take_hold()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """While it only waits for time to pass."""
        self._change(+1)
        try:
            yield
        finally:
            self._change(-1)

    def _change(self, resting: int) -> None:
        was_resting = bool(self._resting)
        self._resting += resting
        if self._is_over or was_resting == bool(self._resting):
            return
        if was_resting:
            self._time.take_hold()
        else:
            self._time.let_go()

    def end(self) -> None:
        if not self._is_over:
            self._is_over = True
            if not self._resting:
                self._time.let_go()


CURRENT_WORK: Final[ContextVar[Hold]] = ContextVar("loom_testing_current_work")
"""What the running activity holds."""


class VirtualClock(Clock):
    """Shows virtual time to one process, and forgets all that it asked for when it dies."""

    def __init__(self, time: VirtualTime) -> None:
        self.time = time
        self.keepers: set[VirtualLeaseKeeper] = set()
        self._alarms: set[VirtualAlarm] = set()
        self._holds: set[Hold] = set()
        self._is_dead = False

    def now(self) -> Micros:
        return self.time.now

    def call_at(self, moment: Micros, callback: Callable[[], object]) -> VirtualAlarm:
        return self._remember(self.time.call_at(moment, callback))

    async def wait(
        self, event: asyncio.Event, seconds: float, *, until: Micros | None = None
    ) -> None:
        """As everything is told of here, nobody needs to have another look after a while."""
        alarm: VirtualAlarm | None = None
        try:
            async with asyncio.timeout(None) as scope:
                wait = Wait(scope)
                self.time.waits[wait] = asyncio.current_task()
                if until is not None:
                    alarm = self._remember(self.time.call_at(until, wait.end, guessed=True))
                await event.wait()
        except TimeoutError:
            if wait.error is not None:
                raise wait.error from None
        finally:
            del self.time.waits[wait]
            if alarm is not None:
                alarm.cancel()

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """Runs out when so much time has passed, be it virtual or real."""
        return self._timeout(seconds)

    @asynccontextmanager
    async def _timeout(self, seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
        async with asyncio.timeout(seconds) as scope:
            if seconds is None:
                yield scope
                return
            moment = self.now() + round(min(seconds * MICROS_PER_SECOND, END_OF_TIME))
            alarm = self.call_at(moment, lambda: expire(scope))
            try:
                yield scope
            finally:
                alarm.cancel()

    def at_work(self) -> AbstractContextManager[None]:
        return self._at_work()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with self.holding() as hold:
            token = CURRENT_WORK.set(hold)
            try:
                yield
            finally:
                CURRENT_WORK.reset(token)

    @contextmanager
    def holding(self) -> Iterator[Hold]:
        """Time stands still meanwhile."""
        hold = Hold(self.time)
        if self._is_dead:
            hold.end()
        self._holds.add(hold)
        try:
            yield hold
        finally:
            self._holds.discard(hold)
            hold.end()

    def watching(self, run_id: RunId) -> AbstractContextManager[None]:
        return self.time.watching(run_id)

    def die(self) -> None:
        """The process is gone: nothing of it goes on, and nothing wakes it any more."""
        self._is_dead = True
        for alarm in tuple(self._alarms):
            alarm.cancel()
        for hold in tuple(self._holds):
            hold.end()

    def _remember(self, alarm: VirtualAlarm) -> VirtualAlarm:
        if self._is_dead:
            alarm.cancel()
        elif not alarm.is_over:
            self._alarms.add(alarm)
            alarm.on_over = self._alarms.discard
        return alarm


class VirtualLeaseKeeper(LeaseKeeper):
    """Renews a worker's leases before each jump of time, so that none runs out by it."""

    def start(self) -> None:
        """Begin renewing."""
        self.looks = 0
        self._extended: list[Leases] = []
        self._loop = asyncio.get_running_loop()
        # That of the worker, whichever task it is that renews.
        self._context = contextvars.copy_context()
        self._look_soon = self._look
        self._virtual_clock.keepers.add(self)

    async def stop(self) -> None:
        """Stop renewing."""
        self._virtual_clock.keepers.discard(self)

    def held(self) -> Leases:
        return self._held.snapshot()

    async def renew(self, held: Leases, until: Micros) -> None:
        """Let leases run until that moment and for their usual time after it."""
        self._extended.append(held)
        expires_at = min(until + self._options.lease, END_OF_TIME)
        async with self._connect() as repository:
            lost = await repository.extend_leases(held, self._owner, expires_at)
        if lost:
            self._loop.call_soon(self._on_lost, lost, context=self._context)

    async def bring_forward(self, repository: LeaseRepository, expires_at: Micros) -> None:
        """The worker is dead: let no lease of its run longer than if it had been renewed by and by,
        as in real time."""
        for held in self._extended:
            await repository.extend_leases(held, self._owner, expires_at)

    def _look(self) -> None:
        """Renew at once, to learn of what is lost."""
        self.looks += 1
        renewing = self._renew_now()
        self._looking = self._loop.create_task(renewing, context=self._context)

    async def _renew_now(self) -> None:
        with self._virtual_clock.holding():
            await self.renew(self.held(), self._virtual_clock.now())

    @property
    def _virtual_clock(self) -> VirtualClock:
        assert isinstance(self._clock, VirtualClock)
        return self._clock
