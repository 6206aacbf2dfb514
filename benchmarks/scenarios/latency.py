"""One workflow of one activity at a time, with nothing else to do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from benchmarks.records import Case, Work
from benchmarks.scenarios.base import Scenario
from benchmarks.subjects.session import Session

PAUSE = 0.01
"""Seconds between two, so that whatever the last one left behind is over."""


class Latency(Scenario):
    """From start to result, unloaded."""

    name = "latency"
    operation = "workflow"
    any_n_will_do = True

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, n or 400)]

    def warm_up(self, case: Case) -> Case:
        return replace(case, n=min(case.n, 20))

    async def run(self, session: Session, case: Case) -> Work:
        latencies: list[float] = []
        with session.meter() as meter:
            for number in range(case.n):
                await asyncio.sleep(PAUSE)
                started = time.perf_counter()
                await session.one_activity(number)
                latencies.append(time.perf_counter() - started)
        # The pauses are no work of the subject's.
        return Work(case.n, sum(latencies), meter.cpu_seconds, case.n, latencies)
