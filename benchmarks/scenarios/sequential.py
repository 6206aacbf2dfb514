"""One workflow of many activities, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from benchmarks.figures import ratios
from benchmarks.records import Case, Work
from benchmarks.scenarios.base import Comparison, Samples, Scenario
from benchmarks.subjects.session import Session

LENGTHS = (10, 100, 1_000, 5_000, 20_000)
SHORTEST_COMPARED = 100
"""A shorter run is over before its figures settle."""


class Sequential(Scenario):
    """Each step waits for the one before, so that nothing but the cost of a step counts; and it
    must not grow with the length of the history."""

    name = "sequential"
    operation = "step"

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, length) for length in (LENGTHS if n is None else (n,))]

    def warm_up(self, case: Case) -> Case:
        return replace(case, n=min(case.n, 20))

    async def run(self, session: Session, case: Case) -> Work:
        with session.meter() as meter:
            started = time.perf_counter()
            moments = await session.sequence(case.n)
        latencies = [after - before for before, after in pairwise([started, *moments])]
        return Work(case.n, meter.seconds, meter.cpu_seconds, 1, latencies)

    def compare(self, samples: Samples) -> Iterator[Comparison]:
        """The cost of a step in the longest run against that in the shortest."""
        compared = [case for case in samples if case.n >= SHORTEST_COMPARED]
        if len(compared) < 2:
            return
        shortest, longest = min(compared, key=lambda c: c.n), max(compared, key=lambda c: c.n)
        lengths = f"N = {longest.n} against {shortest.n}"
        for subject, short in samples[shortest].items():
            long = samples[longest].get(subject)
            if not long:
                continue
            # Cost is the inverse of rate.
            cost = ratios([s.rate for s in short], [s.rate for s in long])
            yield Comparison(subject, f"cost per step, {lengths}", cost)
            cpu = ratios([s.cpu_ms for s in long], [s.cpu_ms for s in short])
            yield Comparison(subject, f"CPU time per step, {lengths}", cpu)
