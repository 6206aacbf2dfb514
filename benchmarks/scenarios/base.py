"""What a scenario is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import Spread, ratios
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
    stores: frozenset[str] = frozenset({"sqlite", "postgres", "memory"})
    """Where it makes sense; ``none`` is for what needs no database."""
    any_n_will_do: bool = False
    """Whether figures hold for any number of operations, as long as there are enough."""
    most_repeats: int | None = None
    """For what takes long and varies little."""

    @abstractmethod
    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        """The sizes to run: those asked for, or the scenario's own."""

    def warm_up(self, case: Case) -> Case | None:
        """A smaller case, run first and not measured: statements are prepared, caches are warm.

        ``None`` when there is nothing to warm.
        """
        return None

    @abstractmethod
    async def run(self, session: Session, case: Case) -> Work:
        """Do the work."""

    def compare(self, samples: Samples) -> Iterable[Comparison]:
        """What the cases of one store tell when held side by side."""
        return ()


def rates_compared(samples: Samples, name: str, one: Case, other: Case) -> Iterator[Comparison]:
    """How much faster the one case is than the other, for each subject that ran both."""
    for subject, mine in samples[one].items():
        theirs = samples[other].get(subject)
        if theirs:
            yield Comparison(
                subject, name, ratios([s.rate for s in mine], [s.rate for s in theirs])
            )
