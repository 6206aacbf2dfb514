"""What is measured and what a measurement gives: plain records that travel between processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Case:
    """One workload at one size."""

    scenario: str
    n: int
    """How much: workflows, steps of one workflow, or seconds, as the scenario says."""
    concurrency: int = 1
    kind: str = ""
    """Which of a scenario's workloads, where it has several."""
    processes: int | None = None
    """Worker processes beside the client's. ``None``: the worker works in the client's own."""

    def __str__(self) -> str:
        parts = [self.scenario, self.kind, f"n={self.n:,}"]
        if self.concurrency > 1:
            parts.append(f"clients={self.concurrency}")
        if self.processes is not None:
            parts.append(f"processes={self.processes}")
        return " ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used."""

    cpu_seconds: float
    peak_rss_mib: float


@dataclass(frozen=True, slots=True)
class Work:
    """What a scenario did, and how long that took."""

    operations: int
    seconds: float
    cpu_seconds: float
    workflows: int
    latencies: Sequence[float] = ()
    """In seconds, one for each operation, where each can be told apart."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What this scenario alone tells; the unit is in the name."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One case run once by one subject, in a process and on a database of its own."""

    work: Work
    latency_ms: Mapping[str, float]
    peak_rss_mib: float
    """Of the process which had most."""
    database_bytes_per_operation: float | None
    """``None`` when nothing is kept on disk."""
    durability: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.work.operations / self.work.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU time per operation, in milliseconds."""
        return self.work.cpu_seconds * 1000 / self.work.operations
