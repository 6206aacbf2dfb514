"""One run with a very long history."""

from __future__ import annotations

import time

from benchmarks.records import Case, Work
from benchmarks.scenarios.base import Scenario
from benchmarks.subjects.session import Session


class History(Scenario):
    """What is done with the history of one run, once each: opened, replayed, shown."""

    name = "history"
    operation = "event"
    stores = frozenset({"sqlite", "postgres"})
    most_repeats = 1

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, n or 50_000)]

    async def run(self, session: Session, case: Case) -> Work:
        actions = await session.long_history(case.n)
        figures: dict[str, float] = {}
        with session.meter() as meter:
            for name, action in actions.items():
                began = time.perf_counter()
                await action()
                figures[f"{name}_seconds"] = time.perf_counter() - began
        return Work(case.n, meter.seconds, meter.cpu_seconds, 1, figures=figures)
