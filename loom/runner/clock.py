"""Time, as the runner sees it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from loom.identifiers import Micros
from loom.storage.repository import LeaseRepository


class Clock(ABC):
    """Where all that is not pure takes the time from."""

    @abstractmethod
    def now(self) -> Micros:
        """The moment now, by the database's clock as far as it is known."""


class SystemClock(Clock):
    """The system's clock, corrected by how far the database's is off."""

    def __init__(self, offset: Micros = 0) -> None:
        self.offset = offset

    def now(self) -> Micros:
        return time.time_ns() // 1000 + self.offset


async def clock_of(repository: LeaseRepository) -> SystemClock:
    """A clock set by the database's.

    The answer is taken to be from the middle of the round trip, as in Cristian's algorithm
    (Distributed Computing 3, 1989), of the quickest of three.
    """
    best_trip, best_offset = None, 0
    for _ in range(3):
        before = time.time_ns() // 1000
        theirs = await repository.current_time()
        after = time.time_ns() // 1000
        if best_trip is None or after - before < best_trip:
            best_trip, best_offset = after - before, theirs - (before + after) // 2
    return SystemClock(best_offset)
