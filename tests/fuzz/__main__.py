"""``python -m tests.fuzz --inputs N``: so many hostile inputs, spread over every boundary.

``--target`` chooses some of them; ``--only N`` makes one input again and shows how it ended.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import time

from tests.fuzz.applications import applications
from tests.fuzz.targets import PURE
from tests.fuzz.trials import Outcome, try_many, try_one


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", help="may be given again; by default all")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one input, of one target")
    given = parser.parse_args()
    logging.disable()
    with applications() as more:
        known = {target.name: target for target in (*PURE, *more)}
        chosen = [known[name] for name in given.target or known]
        if given.only is not None:
            outcome = Outcome()
            try_one(chosen[0], given.seed, given.only, outcome)
            for finding in outcome.findings:
                raise finding.error
            print("taken" if outcome.taken else "refused")
            return 0
        began, cpu = time.monotonic(), time.process_time()
        outcome = try_many(chosen, given.inputs, given.seed, _tell)
        _report(outcome, time.monotonic() - began, time.process_time() - cpu)
    return 1 if outcome.findings else 0


def _tell(outcome: Outcome) -> None:
    if sys.stderr.isatty():
        print(
            f"\r{outcome.inputs:,} inputs, {len(outcome.findings)} findings",
            end="",
            file=sys.stderr,
        )


def _report(outcome: Outcome, seconds: float, cpu: float) -> None:
    print(f"{'target':<10}{'taken':>10}{'refused':>10}")
    for name in outcome.names:
        print(f"{name:<10}{outcome.taken[name]:>10,}{outcome.refused[name]:>10,}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{outcome.inputs:,} inputs in {seconds:,.1f} s ({cpu:,.1f} s of a core); the slowest took "
        f"{outcome.slowest * 1000:,.0f} ms; {peak:,.0f} MB at most"
    )
    print(f"findings: {len(outcome.findings)}")
    for finding in outcome.findings[:100]:
        print(f"  {finding}")


if __name__ == "__main__":
    sys.exit(main())
