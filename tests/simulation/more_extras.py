"""Plans with what was added last, for a share of the seeds; the others stay as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

from tests.simulation.extras import extra_plan
from tests.simulation.plan import Blow, CallFault, Deed, Fault, Plan, Retention, Script, Step
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


# --- what runs do to one another -----------------------------------------------------------------

_AT_ONCE: Final = ("told", "called off", "child called off", "given up", "left behind")
_LATE: Final = ("told late", "called off late")


def _with_family(plan: Plan, chance: Random) -> Plan:
    """Runs that begin others, talk to them, call them off, and end before them."""
    program = _family(chance, (*_AT_ONCE, *_LATE, "activity", "tagged"))
    script = _script(plan, chance, "family", program)
    if chance.random() < 0.25:
        deed = chance.choice((Deed.CANCEL, Deed.TERMINATE))
        start, result = script.steps
        ending = Step(deed, chance.choice((0.02, 0.5, 2.0)))
        script = replace(script, steps=(start, ending, result))
    return _with(plan, script)


def _with_mourned_family(plan: Plan, chance: Random) -> Plan:
    """The same, while runs are deleted as soon as they have ended, also those of open chains: of
    parents that have been continued, and of children that have."""
    program = _family(chance, (*_LATE, "told", "child called off"))
    retention = Retention("family", chance.randrange(plan.nodes), 0.0, spares_chains=False)
    script = replace(_script(plan, chance, "family", program), is_keyed=False)
    return replace(_with(plan, script), retention=retention)


def _family(chance: Random, kinds: tuple[str, ...]) -> Node:
    some = [_leaf(chance, chance.choice(kinds)) for _ in range(chance.randrange(1, 4))]
    drawn = chance.random()
    if drawn < 0.3:
        return {"kind": chance.choice(("sequence", "gather", "group", "child")), "nodes": some}
    if drawn < 0.5:
        return {"kind": "child", "nodes": [_leaf(chance, "left behind"), *some]}
    before, between = (
        [_part(_leaf(chance, "sleep")) for _ in range(chance.randrange(2))] for _ in range(2)
    )
    links = [*before, _part(_leaf(chance, "begets")), *between, _part(_leaf(chance, "inherits"))]
    return {"kind": "chain", "nodes": [*links, *map(_part, some)]}


# --- runs that clients end, and updates that are refused -----------------------------------------


def _with_endings(plan: Plan, chance: Random) -> Plan:
    """Runs that nothing but a client ends, also before they have begun; half of the time nothing
    goes wrong."""
    plan = chance.choice((plan, _calm(plan)))
    for number in range(chance.randrange(1, 4)):
        deed = chance.choice((Deed.CANCEL, Deed.CANCEL, Deed.TERMINATE))
        ending = Step(deed, chance.choice((0.0, 0.02, 0.5)), times=chance.choice((1, 1, 2)))
        steps = (Step(Deed.START), ending, Step(Deed.RESULT))
        program = _leaf(chance, chance.choice(("endless", "tidies")))
        script = _script(plan, chance, f"ends-{number}", program)
        delay = chance.choice((None, 3.0, 3.0))
        plan = _with(plan, replace(script, steps=steps, delay=delay, is_keyed=True))
    return plan


def _with_refusals(plan: Plan, chance: Random) -> Plan:
    numbers = [chance.randrange(4) for _ in range(chance.randrange(1, 3))]
    said: list[Step] = []
    for count, number in enumerate(dict.fromkeys(numbers)):
        times = chance.choice((1, 2))
        refused = Step(Deed.UPDATE, 0.1, "change", -1 - number, f"refused-{count}", times)
        said += [replace(refused, is_refused=True)] * chance.choice((0, 1))
        said.append(Step(Deed.UPDATE, 0.1, "change", number, f"taken-{count}", times))
    nodes: list[Node] = [{"kind": "update", "number": number} for number in numbers]
    # While it is still there, whoever has died and asks again.
    nodes.append({"kind": "sleep", "number": 3})
    script = _script(plan, chance, "refuses", {"kind": "sequence", "nodes": nodes})
    steps = (Step(Deed.START), *said, Step(Deed.RESULT))
    return _with(plan, replace(script, steps=steps, is_keyed=True))


# --- limits of activities, and code that is mended -----------------------------------------------


def _with_deadlines(plan: Plan, chance: Random) -> Plan:
    kinds = ("in time", "never begun", "never done")
    nodes = [_leaf(chance, chance.choice(kinds)) for _ in range(chance.randrange(1, 4))]
    program = {"kind": chance.choice(("sequence", "gather", "child")), "nodes": nodes}
    return _with(plan, _script(plan, chance, "deadlines", program))


def _with_mortals(plan: Plan, chance: Random) -> Plan:
    """Activities that end their processes are soon given up."""
    nodes = [_leaf(chance, "mortal"), _leaf(chance, "activity")]
    script = _script(plan, chance, "mortal", {"kind": "sequence", "nodes": nodes})
    script = replace(script, node=plan.workers, is_keyed=True)
    settings = plan.settings | {
        "max_lost_attempts": chance.choice((0, 1)),
        "concurrency": 1000,
        "lease_seconds": 0.5,
    }
    return replace(_alone(plan, script), settings=settings, faults_end=20.0)


def _with_mended_code(plan: Plan, chance: Random) -> Plan:
    """Code that does not fit what it has done, until it is mended and clients ask for another
    try."""
    script = _script(plan, chance, "mended", _leaf(chance, "careless"))
    again = Step(Deed.RETRY, 6.0)
    script = replace(script, at=0.0, steps=(Step(Deed.START), again, Step(Deed.RESULT)))
    settings = plan.settings | {"max_cached_runs": 0, "concurrency": 1000}
    return replace(_alone(plan, script), settings=settings, mended_at=5.0)


def _calm(plan: Plan) -> Plan:
    latency = min(plan.latency, 0.01)
    return replace(plan, blows=(), call_faults=(), fault_rate=0.0, latency=latency)


def _alone(plan: Plan, script: Script) -> Plan:
    return replace(_calm(plan), scripts=(script,), office=None, retention=None)


# --- scripts -------------------------------------------------------------------------------------


def _with(plan: Plan, script: Script) -> Plan:
    return replace(plan, scripts=(*plan.scripts, script))


def _script(plan: Plan, chance: Random, workflow_id: str, program: Node) -> Script:
    at, node = chance.choice((0.0, 0.1, 1.0)), chance.randrange(plan.nodes)
    is_keyed = chance.random() < 0.5
    return Script(workflow_id, program, at, node, _TO_ITS_END, is_keyed)


def _leaf(chance: Random, kind: str) -> Node:
    return {"kind": kind, "number": chance.randrange(4)}


def _part(node: Node) -> Node:
    return {"kind": "sequence", "nodes": [node]}


_EXTRAS: Final[tuple[Callable[[Plan, Random], Plan], ...]] = (
    _with_wrong_clocks,
    _with_spoiled_batches,
    _with_family,
    _with_family,
    _with_mourned_family,
    _with_endings,
    _with_refusals,
    _with_deadlines,
    _with_mortals,
    _with_mended_code,
)
