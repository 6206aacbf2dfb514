"""Time, as the runner sees it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Final

from loom.identifiers import Micros
from loom.storage.repository import LeaseRepository


class Clock(ABC):
    """Where all that is not pure takes the time from."""

    @abstractmethod
    def now(self) -> Micros:
        """The moment now, by the database's clock as far as it is known."""

    async def synchronise(self, repository: LeaseRepository) -> None:  # noqa: B027
        """Set the clock by the database's. One that is not real has nothing to set."""


class SystemClock(Clock):
    """The database's time, carried on by a clock that nobody sets.

    The system's own clock may be stepped while a worker runs, and would take leases and timers
    with it. What is carried on is corrected whenever leases are renewed.
    """

    def __init__(self) -> None:
        self._ahead = _wall() - _steady()

    def now(self) -> Micros:
        return _steady() + self._ahead

    async def synchronise(self, repository: LeaseRepository) -> None:
        """The answer is taken to be from the middle of the round trip, as in Cristian's algorithm
        (Distributed Computing 3, 1989), of the quickest of three."""
        best_trip: Micros | None = None
        for _ in range(3):
            before = _steady()
            theirs = await repository.current_time()
            trip = _steady() - before
            if best_trip is None or trip < best_trip:
                best_trip, self._ahead = trip, theirs - before - trip // 2


def _wall() -> Micros:
    return time.time_ns() // 1000


# One that goes on while the machine is suspended, where there is such a clock.
_STEADY: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


def _steady() -> Micros:
    if _STEADY is None:
        return time.monotonic_ns() // 1000
    return time.clock_gettime_ns(_STEADY) // 1000
