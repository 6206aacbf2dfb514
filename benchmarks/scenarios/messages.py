"""Talking to a run that waits: signals and queries."""

from __future__ import annotations

import time
from dataclasses import replace

from benchmarks.records import Case, Work
from benchmarks.scenarios.base import Scenario
from benchmarks.subjects.session import Session


class Signal(Scenario):
    """From sending a signal to the result of the run that waited for it, with the worker in the
    client's process and in another. Opening the run is not measured."""

    name = "signal"
    operation = "round trip"

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, n or 200, processes=processes) for processes in (None, 1)]

    def warm_up(self, case: Case) -> Case:
        return replace(case, n=min(case.n, 5))

    async def run(self, session: Session, case: Case) -> Work:
        with session.meter() as meter:
            latencies = [await session.signal_round_trip() for _ in range(case.n)]
        return Work(case.n, sum(latencies), meter.cpu_seconds, case.n, latencies)


class Query(Scenario):
    """From asking an open run something to its answer."""

    name = "query"
    operation = "query"

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, n or 500, processes=processes) for processes in (None, 1)]

    def warm_up(self, case: Case) -> Case:
        return replace(case, n=min(case.n, 5))

    async def run(self, session: Session, case: Case) -> Work:
        query = await session.open_query()
        latencies: list[float] = []
        with session.meter() as meter:
            for _ in range(case.n):
                started = time.perf_counter()
                await query()
                latencies.append(time.perf_counter() - started)
        return Work(case.n, meter.seconds, meter.cpu_seconds, 1, latencies)
