"""Many inputs, each made again from the seed, the target's name and its number."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.fuzz.targets import Target
from tests.fuzz.watch import nothing_executed

PATIENCE: Final = 10.0
"""Seconds of the processor's time that no single input may take, on a machine however slow."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that was not taken, and not refused as it should be."""

    target: str
    seed: int
    number: int
    error: BaseException

    def __str__(self) -> str:
        shown = f"{type(self.error).__name__}: {str(self.error)[:300]}"
        return f"--target {self.target} --seed {self.seed} --only {self.number}: {shown}"


@dataclass(slots=True)
class Outcome:
    """What came of many inputs."""

    taken: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def inputs(self) -> int:
        return self.taken.total() + self.refused.total() + len(self.findings)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.taken, *self.refused]))


def try_one(target: Target, seed: int, number: int, outcome: Outcome) -> None:
    chance = Random(f"{seed} {target.name} {number}")
    before = time.process_time()
    try:
        with nothing_executed():
            target.feed(chance)
    except target.refusals:
        outcome.refused[target.name] += 1
    except (Exception, SystemExit) as error:
        outcome.findings.append(Finding(target.name, seed, number, error))
    else:
        outcome.taken[target.name] += 1
    took = time.process_time() - before
    outcome.slowest = max(outcome.slowest, took)
    if took > PATIENCE:
        slow = TimeoutError(f"it took {took:.1f} s")
        outcome.findings.append(Finding(target.name, seed, number, slow))


def try_many(
    targets: Sequence[Target],
    inputs: int,
    seed: int,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """So many inputs, spread over the targets by their shares."""
    outcome, whole = Outcome(), sum(target.share for target in targets)
    for target in targets:
        for number in range(inputs * target.share // whole or 1):
            try_one(target, seed, number, outcome)
            if number % 1000 == 0:
                tell(outcome)
    return outcome
