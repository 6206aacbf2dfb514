"""The runner's clock goes by the database's, whatever happens to the system's."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import patch

from loom.runner.clock import SystemClock

HOUR = 3_600_000_000
CLOSE = 5_000_000


class Database:
    def __init__(self, ahead: int = 0) -> None:
        self.ahead = ahead

    async def current_time(self) -> int:
        return time.time_ns() // 1000 + self.ahead


def distance(clock: SystemClock, database: Any) -> int:
    return abs(clock.now() - time.time_ns() // 1000 - database.ahead)


async def test_the_clock_goes_by_the_databases() -> None:
    clock, database = SystemClock(), Database(ahead=HOUR)
    await clock.synchronise(database)  # type: ignore[arg-type]
    assert distance(clock, database) < CLOSE
    database.ahead = -HOUR
    await clock.synchronise(database)  # type: ignore[arg-type]
    assert distance(clock, database) < CLOSE


def test_a_step_of_the_systems_clock_does_not_step_it() -> None:
    clock = SystemClock()
    before = clock.now()
    with patch("time.time_ns", return_value=0):
        assert 0 <= clock.now() - before < CLOSE
