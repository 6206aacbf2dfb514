"""What a scenario is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import Spread
from benchmarks.records import Case, Sample, Work
from benchmarks.subjects.session import Session

type Samples = Mapping[Case, Mapping[str, Sequence[Sample]]]
"""By case and subject, one for each repeat."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A ratio between cases of one subject."""

    subject: str
    name: str
    ratio: Spread


class Scenario(ABC):
    """A workload that every subject runs alike."""

    name: str
    operation: str
    """What is counted, in the singular."""

    @abstractmethod
    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        """The sizes to run: those asked for, or the scenario's own."""

    @abstractmethod
    def warm_up(self, case: Case) -> Case:
        """A smaller case, run first and not measured: statements are prepared, caches are warm."""

    @abstractmethod
    async def run(self, session: Session, case: Case) -> Work:
        """Do the work."""

    def compare(self, samples: Samples) -> Iterable[Comparison]:
        """What the cases of one store tell when held side by side."""
        return ()
