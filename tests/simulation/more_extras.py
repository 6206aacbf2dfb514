"""Plans with what was added last, for a share of the seeds; the others stay as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

from tests.simulation.extras import extra_plan
from tests.simulation.plan import Blow, CallFault, Deed, Fault, Plan, Script, Step
from tests.simulation.programs import Node

_TO_ITS_END: Final = (Step(Deed.START), Step(Deed.RESULT))


def make_plan(seed: int) -> Plan:
    """The plan that a seed stands for."""
    plan, chance = extra_plan(seed), Random(f"more extra {seed}")
    return chance.choice(_EXTRAS)(plan, chance) if chance.random() < 0.4 else plan


# --- clocks that go wrong ------------------------------------------------------------------------


def _with_wrong_clocks(plan: Plan, chance: Random) -> Plan:
    """Nothing but clocks goes wrong, so that it can be said how wrong they may be; and timers take
    much longer than it takes to set them right. A run that one worker begins is another's next."""
    workers = max(plan.workers, 2)
    wrong = chance.randrange(workers)
    blows = [_jump(chance, wrong) for _ in range(chance.choice((1, 1, 2)))]
    others = [node for node in range(workers + 1) if node != wrong]
    return replace(
        plan,
        workers=workers,
        scripts=tuple(_sleeper(chance, number, others) for number in range(4)),
        blows=tuple(sorted(blows, key=lambda blow: blow.at)),
        call_faults=(),
        fault_rate=0.0,
        faults_end=14.0,
        latency=min(plan.latency, 0.01),
        settings=plan.settings | {"lease_seconds": 0.5},
        office=None,
        retention=None,
    )


def _jump(chance: Random, node: int) -> Blow:
    amount = chance.choice((30.0, 30.0, 30.0, -30.0))
    return Blow(Fault.CLOCK, chance.uniform(0.0, 2.0), 30.0, node, amount)


def _sleeper(chance: Random, number: int, nodes: list[int]) -> Script:
    lengths = [chance.choice((2, 5, 6)) for _ in range(chance.randrange(1, 3))]
    parts: list[Node] = [{"kind": "sleep", "number": length} for length in lengths]
    program = {"kind": chance.choice(("sequence", "gather")), "nodes": parts}
    at, node = chance.choice((0.0, 1.0, 2.0, 4.0)), chance.choice(nodes)
    return Script(f"sleeps-{number}", program, at, node, _TO_ITS_END, True)


# --- batches that are refused --------------------------------------------------------------------


def _with_spoiled_batches(plan: Plan, chance: Random) -> Plan:
    """Activities that end together, with workers that do not have their runs."""
    scripts = [_broad(chance, number, plan.workers) for number in range(3)]
    return replace(
        plan,
        scripts=(*plan.scripts, *scripts),
        call_faults=(CallFault.SPOILED,),
        fault_rate=0.6,
        settings=plan.settings | {"max_owned_runs": 1, "concurrency": 1000},
    )


def _broad(chance: Random, number: int, workers: int) -> Script:
    kind = chance.choice(("thread", "activity", "failing"))
    nodes: list[Node] = [{"kind": kind, "number": n} for n in range(chance.randrange(6, 12))]
    program: Node = {"kind": "gather", "nodes": nodes}
    return Script(f"broad-{number}", program, 0.0, workers, _TO_ITS_END, True)


_EXTRAS: Final[tuple[Callable[[Plan, Random], Plan], ...]] = (
    _with_wrong_clocks,
    _with_spoiled_batches,
)
