"""Chaos for real: ``python -m tests.chaos --minutes N [--store ...] [--scenario NAME] ...``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import sys
import time
from collections.abc import Sequence

from tests.chaos.scenarios import SCENARIOS, Entry
from tests.chaos.stage import STORES, Grounds, Report, grounds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, help="go on for so long (by default: one round)")
    parser.add_argument("--trials", type=int, default=1, help="of each scenario in each round")
    parser.add_argument("--store", choices=STORES, action="append", help="by default both")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), action="append")
    parser.add_argument("--at-once", type=int, default=4, help="trials side by side")
    parser.add_argument("--seed", type=int, default=0, help="of the first trial")
    parser.add_argument("--every", type=int, default=1, help="only each n-th seed from there on")
    given = parser.parse_args(arguments)
    # That connections are lost is what it is about.
    logging.getLogger("loom").setLevel(logging.CRITICAL)
    stores = tuple(given.store or STORES)
    names = given.scenario or list(SCENARIOS)
    reports = {
        (name, store): Report(name, store)
        for name in names
        for store in stores
        if store in SCENARIOS[name].stores
    }
    end = math.inf if given.minutes is None else time.monotonic() + given.minutes * 60
    with grounds(stores) as places:
        try:
            asyncio.run(play(places, reports, given, end))
        finally:
            for report in reports.values():
                print(report)
                for violation in report.violations[:20]:
                    print(f"  {violation}")
    return 1 if any(report.violations for report in reports.values()) else 0


async def play(
    places: Grounds,
    reports: dict[tuple[str, str], Report],
    given: argparse.Namespace,
    end: float,
) -> None:
    """Round after round, each with seeds of its own."""
    seed = given.seed
    while time.monotonic() < end:
        seeds = range(seed, seed + given.trials * given.every, given.every)
        for (name, _), report in reports.items():
            await trials(places, SCENARIOS[name], report, seeds, given, end)
        seed = seeds.stop
        if given.minutes is None:
            return


async def trials(
    places: Grounds,
    entry: Entry,
    report: Report,
    seeds: range,
    given: argparse.Namespace,
    end: float,
) -> None:
    """A round of one scenario on one store, several at a time where they do not disturb."""
    places_left = asyncio.Semaphore(1 if entry.is_alone else given.at_once)

    async def one(seed: int) -> None:
        async with places_left:
            if time.monotonic() < end:
                await places.play(entry.scenario, report, seed)

    await asyncio.gather(*(one(seed) for seed in seeds))


if __name__ == "__main__":
    sys.exit(main())
