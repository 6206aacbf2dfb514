"""One workflow that asks for very much at once."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.records import Case, Work
from benchmarks.scenarios.base import Scenario
from benchmarks.subjects.session import Session

KINDS = ("activities", "children")


class FanOut(Scenario):
    """A workflow of so many activities, or of so many children of one activity each, all started at
    once and all waited for."""

    name = "fanout"
    operation = "branch"

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, n or 1_000, kind=kind) for kind in KINDS]

    def warm_up(self, case: Case) -> Case:
        return replace(case, n=min(case.n, 20))

    async def run(self, session: Session, case: Case) -> Work:
        with session.meter() as meter:
            await session.fan_out(case.kind, case.n)
        workflows = 1 if case.kind == "activities" else 1 + case.n
        figures = {"seconds": meter.seconds}
        return Work(case.n, meter.seconds, meter.cpu_seconds, workflows, figures=figures)
