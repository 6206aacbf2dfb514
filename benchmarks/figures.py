"""The arithmetic: percentiles, medians with their spread, and ratios taken pair by pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some repeats, and the extremes."""

    median: float
    min: float
    max: float


def spread(values: Iterable[float]) -> Spread:
    """Raises ``ValueError`` when there are no values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return Spread(median(ordered), ordered[0], ordered[-1])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the sorted values that so many percent of them do not exceed.

    By nearest rank: it is always a value that was really seen.
    """
    if not ordered:
        raise ValueError("no values")
    return ordered[max(ceil(len(ordered) * percent / 100), 1) - 1]


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """p50, p95 and p99."""
    ordered = sorted(values)
    return {f"p{percent}": percentile(ordered, percent) for percent in PERCENTILES}


def ratios(numerators: Iterable[float], denominators: Iterable[float]) -> Spread:
    """The quotients of values measured side by side.

    Pair by pair, since the machine may be slower in one repeat than in another, but hardly within
    one. Raises ``ValueError`` when a partner is missing.
    """
    return spread(a / b for a, b in zip(numerators, denominators, strict=True))
