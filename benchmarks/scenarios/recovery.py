"""A worker is killed in the middle of its work, and another one goes on."""

from __future__ import annotations

import time

from benchmarks.records import Case, Work
from benchmarks.scenarios.base import Scenario
from benchmarks.subjects.session import Session

STEPS, LEFT = 10, 5


class Recovery(Scenario):
    """SIGKILL with very many open runs of ten activities, of which each has five left. Counted from
    when the dead worker's leases end, until all runs have ended."""

    name = "recovery"
    operation = "run"
    stores = frozenset({"sqlite", "postgres"})

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, n or 1_000, processes=0)]

    async def run(self, session: Session, case: Case) -> Work:
        leased = await session.interrupted(case.n, STEPS, LEFT)
        killed = time.perf_counter()
        others_may = killed + leased
        with session.meter() as meter:
            await session.resumed()
        ended = time.perf_counter()
        # Workers go by the database's clock, which may differ from ours by a trifle.
        seconds = max(ended - others_may, 0.001)
        figures = {"seconds_after_lease": seconds, "seconds_after_kill": ended - killed}
        return Work(case.n, seconds, meter.cpu_seconds, case.n, figures=figures)
