"""``python -m tests.simulation --seeds N``: that many histories of the world, each drawn from its
seed, and what was violated in them.

``--seed S`` shows one of them; ``--shrink`` makes it as small as it stays violated, and ``--keep
FILE`` keeps it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.kept import Kept, write
from tests.simulation.more_extras import make_plan
from tests.simulation.shrink import shrunk
from tests.simulation.stores import Tier
from tests.simulation.trial import run_plan

_CHUNK = 50


@dataclass(slots=True)
class Sum:
    """What came of many trials."""

    seeds: int = 0
    steps: int = 0
    virtual: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    violated: list[tuple[int, list[str]]] = field(default_factory=list)

    def add(self, other: Sum) -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.virtual += other.virtual
        self.counts.update(other.counts)
        self.violated += other.violated


def run_seeds(first: int, count: int, tier: Tier) -> Sum:
    found = Sum()
    for seed in range(first, first + count):
        report = run_plan(make_plan(seed), tier)
        found.seeds += 1
        found.steps += report.steps
        found.virtual += report.seconds
        found.counts.update(report.counts)
        if report.violations:
            found.violated.append((seed, [str(violation) for violation in report.violations]))
    return found


def run_many(
    first: int, seeds: int | None, tier: Tier, jobs: int, seconds: float | None
) -> Iterator[Sum]:
    """As many as were asked for, or as there is time for."""
    end = None if seconds is None else time.monotonic() + seconds
    last = None if seeds is None else first + seeds
    with ProcessPoolExecutor(jobs) as pool:
        while (last is None or first < last) and (end is None or time.monotonic() < end):
            rounds = []
            for _ in range(4 * jobs):
                count = _CHUNK if last is None else min(_CHUNK, last - first)
                if count > 0:
                    rounds.append(pool.submit(run_seeds, first, count, tier))
                    first += count
            for one in rounds:
                yield one.result()


def show(seed: int, tier: Tier, shrink: bool, path: Path | None) -> int:
    plan = make_plan(seed)
    report = run_plan(plan, tier)
    if shrink and report.violations:
        plan, report = shrunk(plan, tier)
    if path is not None:
        write(path, Kept(tier, plan))
    print(plan)
    print(f"trace {report.trace:08x}, {report.steps} steps, {report.seconds:.3f} s")
    for violation in report.violations:
        print(violation)
    return 1 if report.violations else 0


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, help="how many; by default 1000")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--minutes", type=float, help="for how long, whatever the seeds")
    parser.add_argument("--tier", type=Tier, default=Tier.MEMORY, choices=list(Tier))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="this one alone, and all about it")
    parser.add_argument("--shrink", action="store_true")
    parser.add_argument("--keep", type=Path, help="where that plan is kept, as data")
    asked = parser.parse_args()
    if asked.seed is not None:
        return show(asked.seed, asked.tier, asked.shrink, asked.keep)
    seeds = 1000 if asked.seeds is None and asked.minutes is None else asked.seeds
    seconds = None if asked.minutes is None else 60 * asked.minutes
    began, total = time.monotonic(), Sum()
    for one in run_many(asked.first, seeds, asked.tier, asked.jobs, seconds):
        total.add(one)
        for seed, what in one.violated:
            print(f"seed {seed}:", *what, sep="\n  ", flush=True)
    _print_sum(total, time.monotonic() - began)
    return 1 if total.violated else 0


def _print_sum(total: Sum, seconds: float) -> None:
    for name, count in sorted(total.counts.items()):
        print(f"{count:>10} {name}")
    print(
        f"{total.seeds} seeds in {seconds:.0f} s ({total.seeds / max(seconds, 0.001):.1f}/s), "
        f"{total.steps} steps, {total.virtual / 3600:.1f} h of virtual time, "
        f"{len(total.violated)} with violations"
    )


if __name__ == "__main__":
    sys.exit(main())
