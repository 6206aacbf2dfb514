"""Many inputs, each made again from the seed, the target's name and its number."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.fuzz.limits import TakesTooLong, lacked_memory, limited_memory, limited_time
from tests.fuzz.targets import Target
from tests.fuzz.watch import nothing_executed

PATIENCE: Final = 10.0
"""Seconds that no single input may take, on a machine however slow."""

MEMORY: Final = 512 << 20
"""Bytes that no single input may ask for; a thread of its own takes up to 72 MiB of them."""


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
    before = time.process_time()
    error = _feed(target, Random(f"{seed} {target.name} {number}"))
    outcome.slowest = max(outcome.slowest, time.process_time() - before)
    if error is None:
        outcome.taken[target.name] += 1
    elif isinstance(error, target.refusals) and not lacked_memory(error):
        outcome.refused[target.name] += 1
    else:
        outcome.findings.append(Finding(target.name, seed, number, error))


def _feed(target: Target, chance: Random) -> BaseException | None:
    """What it raises, within the limits of a single input."""
    try:
        with limited_time(PATIENCE), limited_memory(MEMORY), nothing_executed():
            target.feed(chance)
    except (Exception, SystemExit, TakesTooLong) as error:
        return error
    return None


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
