"""The runner's clock goes by the database's, whatever happens to the system's."""

from __future__ import annotations

import math
import time
from typing import Any
from unittest.mock import patch

import pytest

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


@pytest.mark.parametrize(("seconds", "trips"), [(math.inf, 3), (2.5, 2), (1.5, 1), (0.0, 1)])
async def test_the_database_is_asked_as_often_as_there_is_time_for(
    seconds: float, trips: int
) -> None:
    class Clock(SystemClock):
        def _steady(self) -> int:
            return 1_000_000 * database.asked

    class Distant:
        """Each answer takes a second."""

        asked = 0

        async def current_time(self) -> int:
            self.asked += 1
            return 0

    database = Distant()
    await Clock().synchronise(database, seconds=seconds)  # type: ignore[arg-type]
    assert database.asked == trips


def test_a_step_of_the_systems_clock_does_not_step_it() -> None:
    clock = SystemClock()
    before = clock.now()
    with patch("time.time_ns", return_value=0):
        assert 0 <= clock.now() - before < CLOSE
