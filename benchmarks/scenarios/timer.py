"""How late timers are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from benchmarks.records import Case, Work
from benchmarks.scenarios.base import Scenario
from benchmarks.subjects.session import Session

ALONE, TOGETHER = "alone", "together"
SHORT = 0.05
"""Seconds that a timer alone runs for."""
SLOWEST_START = 400
"""Runs that a subject opens in a second; if it is slower, they are given more time."""
OPENING_AT_A_TIME = 200


class Timer(Scenario):
    """From the moment at which a sleep ends to the result of its run: one run at a time, and very
    many that are due within one second."""

    name = "timer"
    operation = "timer"

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, n or 100, kind=ALONE), Case(self.name, n or 10_000, kind=TOGETHER)]

    def warm_up(self, case: Case) -> Case:
        return replace(case, kind=ALONE, n=min(case.n, 5))

    async def run(self, session: Session, case: Case) -> Work:
        return await (_alone if case.kind == ALONE else _together)(session, case)


async def _alone(session: Session, case: Case) -> Work:
    late: list[float] = []
    with session.meter() as meter:
        for _ in range(case.n):
            result = await session.sleeper(time.time() + SHORT)
            late.append(await result())
    return Work(case.n, meter.seconds, meter.cpu_seconds, case.n, late)


async def _together(session: Session, case: Case) -> Work:
    lead = 1 + case.n / SLOWEST_START
    with session.meter() as meter:
        late = await _due_within_a_second(session, case.n, lead)
        while late is None:
            lead *= 2
            late = await _due_within_a_second(session, case.n, lead)
    # What counts is how long it takes from when the first of them is due.
    seconds = 1 + max(late)
    return Work(case.n, seconds, meter.cpu_seconds, case.n, late, {"seconds": seconds})


async def _due_within_a_second(session: Session, n: int, lead: float) -> list[float] | None:
    """How late each is; ``None`` when the first was due before the last was started."""
    first = time.time() + lead
    opening = asyncio.Semaphore(OPENING_AT_A_TIME)

    async def opened(number: int) -> Callable[[], Awaitable[float]]:
        async with opening:
            return await session.sleeper(first + number / n)

    results = await asyncio.gather(*(opened(number) for number in range(n)))
    all_sleep = time.time() < first
    late = await asyncio.gather(*(result() for result in results))
    return late if all_sleep else None
