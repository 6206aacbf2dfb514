"""What is measured and what a measurement gives: plain records that travel between processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One workload at one size."""

    scenario: str
    n: int
    """How many operations: workflows, or steps of one workflow."""
    concurrency: int = 1

    def __str__(self) -> str:
        return f"{self.scenario} n={self.n} concurrency={self.concurrency}"


@dataclass(frozen=True, slots=True)
class Work:
    """What a scenario did."""

    latencies: Sequence[float]
    """In seconds, one for each operation."""
    workflows: int

    @property
    def operations(self) -> int:
        return len(self.latencies)


@dataclass(frozen=True, slots=True)
class Sample:
    """One case run once by one subject, in a process and on a database of its own."""

    operations: int
    workflows: int
    seconds: float
    latency_ms: Mapping[str, float]
    cpu_seconds: float
    peak_rss_mib: float
    database_bytes_per_operation: float | None
    """``None`` when nothing is kept on disk."""
    durability: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU time per operation, in milliseconds."""
        return self.cpu_seconds * 1000 / self.operations
