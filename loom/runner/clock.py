"""Time, as the runner sees it."""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from functools import partial
from typing import Final, Protocol

from loom.identifiers import MICROS_PER_SECOND, Micros, RunId
from loom.storage.repository import LeaseRepository


class Alarm(Protocol):
    """What is called at some moment, unless it is called off."""

    def cancel(self) -> None: ...


class Clock(ABC):
    """Where all that is not pure takes the time from, and waits for it to pass.

    Waiting goes through here so that a clock need not be real: one that skips time must know who
    waits, until when, and whether anything is going on meanwhile.
    """

    @abstractmethod
    def now(self) -> Micros:
        """The moment now, by the database's clock as far as it is known."""

    async def synchronise(  # noqa: B027
        self, repository: LeaseRepository, *, seconds: float = math.inf
    ) -> None:
        """Set the clock by the database's, in about so many seconds. One that is not real has
        nothing to set."""

    def call_at(self, moment: Micros, callback: Callable[[], object]) -> Alarm:
        """Call back on the event loop at that moment, or soon when it has passed."""
        return asyncio.get_running_loop().call_later(self._seconds_until(moment), callback)

    async def wait(
        self, event: asyncio.Event, seconds: float, *, until: Micros | None = None
    ) -> None:
        """Wait for an event, which is set when so many seconds are over, or that moment has come.

        The seconds are for having another look at what one is usually told of: by the event
        loop's clock, since this one may be set back.
        """
        if until is not None:
            seconds = min(seconds, self._seconds_until(until))
        alarm = asyncio.get_running_loop().call_later(seconds, event.set)
        try:
            await event.wait()
        finally:
            alarm.cancel()

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """As ``asyncio.timeout``."""
        return asyncio.timeout(seconds)

    def at_work(self) -> AbstractContextManager[None]:
        """Held while something goes on that takes its own time, such as a user's function."""
        return _NOTHING

    def watching(self, run_id: RunId) -> AbstractContextManager[None]:
        """Held while somebody outside waits for what a run will do."""
        return _NOTHING

    def _seconds_until(self, moment: Micros) -> float:
        return max(moment - self.now(), 0) / MICROS_PER_SECOND


class SystemClock(Clock):
    """The database's time, carried on by a clock that nobody sets.

    The system's own clock may be stepped while a worker runs, and would take leases and timers
    with it. What is carried on is corrected whenever leases are renewed.
    """

    def __init__(self) -> None:
        self._ahead = self._wall() - self._steady()

    def now(self) -> Micros:
        return self._steady() + self._ahead

    async def synchronise(self, repository: LeaseRepository, *, seconds: float = math.inf) -> None:
        """The answer is taken to be from the middle of the round trip, as in Cristian's algorithm
        (Distributed Computing 3, 1989), of the quickest of three, or of as many as there is time
        for."""
        best_trip: Micros | None = None
        left = seconds * MICROS_PER_SECOND
        for _ in range(3):
            before = self._steady()
            theirs = await repository.current_time()
            trip = self._steady() - before
            if best_trip is None or trip < best_trip:
                best_trip, self._ahead = trip, theirs - before - trip // 2
            left -= trip
            if left < trip:
                return

    def _wall(self) -> Micros:
        return time.time_ns() // 1000

    def _steady(self) -> Micros:
        return _steady_ns() // 1000


_NOTHING: Final = nullcontext()

# One that goes on while the machine is suspended, where there is such a clock.
_steady_ns: Final[Callable[[], int]] = (
    partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic_ns
)
