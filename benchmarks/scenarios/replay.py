"""Replaying a history against its workflow's code: no database, no activity, no waiting."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import ratios
from benchmarks.records import Case, Work
from benchmarks.scenarios.base import Comparison, Samples, Scenario
from benchmarks.subjects.session import Session

LENGTHS = (1_000, 5_000, 20_000)
SEQUENTIAL, PARALLEL = "sequential", "parallel"


class Replay(Scenario):
    """The pure engine. The history is made before, and is in memory as its reader gives it."""

    name = "replay"
    operation = "activity"
    stores = frozenset({"none"})

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        lengths = LENGTHS if n is None else (n,)
        return [
            *(Case(self.name, length, kind=SEQUENTIAL) for length in lengths),
            Case(self.name, lengths[0], kind=PARALLEL),
        ]

    def warm_up(self, case: Case) -> Case:
        return Case(self.name, min(case.n, 100), kind=case.kind)

    async def run(self, session: Session, case: Case) -> Work:
        replay = await session.history_to_replay(case.kind, case.n)
        with session.meter() as meter:
            await replay()
        return Work(case.n, meter.seconds, meter.cpu_seconds, 1)

    def compare(self, samples: Samples) -> Iterator[Comparison]:
        """The cost of an activity in the longest history against that in the shortest."""
        sequential = [case for case in samples if case.kind == SEQUENTIAL]
        if len(sequential) < 2:
            return
        shortest, longest = min(sequential, key=lambda c: c.n), max(sequential, key=lambda c: c.n)
        for subject, short in samples[shortest].items():
            long = samples[longest].get(subject)
            if long:
                name = f"cost per activity, N = {longest.n} against {shortest.n}"
                cost = ratios([s.rate for s in short], [s.rate for s in long])
                yield Comparison(subject, name, cost)
