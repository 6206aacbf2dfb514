"""Plans with what takes more than a run and its clients: activities that others complete, runs
whose time is up or that are tried again, starts that bring a signal, and ids that are used again
while what has ended is deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any, Final

from tests.simulation.plan import Deed, Ending, Plan, Retention, Script, Step
from tests.simulation.programs import some_program, wanted
from tests.simulation.richer import rich_plan

type Node = dict[str, Any]

_LONGEST: Final = 5.0
"""Seconds that are more than any call takes."""

AMPLE: Final = 110.0
"""Seconds that are enough for whatever it is."""


def extra_plan(seed: int) -> Plan:
    """The plan of ``richer``, with more of that in four of five."""
    plan, chance = rich_plan(seed), Random(f"extra {seed}")
    for extra in chance.sample(_EXTRAS, chance.choice((0, 1, 1, 1, 2))):
        plan = extra(plan, chance)
    return _with_twins(plan, chance) if chance.random() < 0.3 else plan


def _with_twins(plan: Plan, chance: Random) -> Plan:
    """Several processes that start the same at the same time."""
    parts = [
        _some(chance, ("activity", "in steps", "sleep")) for _ in range(chance.randrange(1, 4))
    ]
    program = {"kind": chance.choice(("sequence", "gather")), "nodes": parts}
    at = chance.choice((0.5, 1.0))
    for node in range(plan.nodes):
        plan = _with(plan, Script("twins", program, at, node, _TO_ITS_END, is_keyed=True))
    return plan


# --- what others complete ------------------------------------------------------------------------


def _with_office(plan: Plan, chance: Random) -> Plan:
    """Activities that are completed from outside, in runs that may be ended meanwhile."""
    kinds = ("asked", "asked", "refused", "activity", "sleep", "late child")
    parts = [_some(chance, kinds) for _ in range(chance.randrange(2, 7))]
    program = {"kind": chance.choice(("sequence", "gather", "group")), "nodes": parts}
    if chance.random() < 0.3:
        again = {"kind": "sequence", "nodes": [_some(chance, ("asked", "refused"))]}
        program = {"kind": "chain", "nodes": [program, again]}
    steps = [Step(Deed.START), Step(Deed.RESULT)]
    if chance.random() < 0.25:
        deed = chance.choice((Deed.CANCEL, Deed.CANCEL, Deed.TERMINATE))
        steps.insert(1, Step(deed, chance.choice((0.02, 0.2, 1.0, 3.0))))
    plan = _with(plan, _script(plan, chance, "asks", program, steps))
    return replace(plan, office=chance.randrange(plan.nodes))


# --- whose time is up ----------------------------------------------------------------------------


def _with_limits(plan: Plan, chance: Random) -> Plan:
    return _with(plan, chance.choice((_ample, _tight, _endless, _endless_chain))(plan, chance))


def _ample(plan: Plan, chance: Random) -> Script:
    """Its time is never up."""
    script = _talked_to(plan, chance, "ample", some_program(chance))
    return replace(script, run_timeout=AMPLE, execution_timeout=AMPLE)


def _tight(plan: Plan, chance: Random) -> Script:
    """It may end in time, or not."""
    script = _talked_to(plan, chance, "tight", some_program(chance))
    limits = {chance.choice(("run_timeout", "execution_timeout")): chance.choice((0.3, 1.0, 3.0))}
    return replace(script, endings=frozenset({Ending.RESULT, Ending.TIMEOUT}), **limits)


def _endless(plan: Plan, chance: Random) -> Script:
    nodes = [_some(chance, ("activity", "sleep", "child")), {"kind": "endless", "number": 0}]
    program = {"kind": chance.choice(("sequence", "gather")), "nodes": nodes}
    script = _script(plan, chance, "endless", program, _TO_ITS_END)
    limit = chance.choice((0.1, 1.0, 3.0))
    return replace(script, run_timeout=limit, endings=frozenset({Ending.TIMEOUT}))


def _endless_chain(plan: Plan, chance: Random) -> Script:
    """Each run has its time, and all of them together have theirs."""
    links = [_part(_some(chance, ("sleep", "activity"))) for _ in range(chance.randrange(1, 4))]
    program = {"kind": "chain", "nodes": [*links, _part({"kind": "endless", "number": 0})]}
    script = _script(plan, chance, "endless", program, _TO_ITS_END)
    script = replace(script, endings=frozenset({Ending.TIMEOUT}))
    run, chain = chance.choice(((None, 3.0), (6.0, None), (6.0, 4.0), (0.5, 20.0)))
    return replace(script, run_timeout=run, execution_timeout=chain)


# --- what is tried again -------------------------------------------------------------------------


def _with_tries(plan: Plan, chance: Random) -> Plan:
    """Runs whose code fails at first, or always; also as links of a chain, and as children."""
    heard = [{"kind": "signal", "number": n} for n in range(chance.randrange(3))]
    kinds = ("activity", "flaky", "state", "sleep")
    nodes = [*heard, *(_some(chance, kinds) for _ in range(chance.randrange(1, 3)))]
    fails = chance.choice((1, 1, 2, 99))
    program: Node = {"kind": "stubborn", "number": fails, "nodes": nodes}
    if fails < 99 and chance.random() < 0.3:
        child = {"kind": "stubborn child", "number": fails, "nodes": [_some(chance, kinds)]}
        program = {"kind": "sequence", "nodes": [child, *heard]}
    elif chance.random() < 0.3:
        program = {"kind": "chain", "nodes": [_part(_some(chance, kinds)), program]}
    script = _talked_to(plan, chance, "tried", program)
    endings = frozenset({Ending.FAILURE if fails == 99 else Ending.RESULT})
    script = replace(script, tries=chance.choice((3, 4)), endings=endings)
    if fails == 99:
        # Nobody listens to the last signals.
        steps = tuple(step for step in script.steps if step.deed is not Deed.SIGNAL)
        script = replace(script, steps=steps)
        if chance.random() < 0.4:
            endings |= {Ending.TIMEOUT}
            script = replace(script, tries=100, execution_timeout=3.0, endings=endings)
    return _with(plan, script)


# --- starts that bring a signal ------------------------------------------------------------------


def _with_signals(plan: Plan, chance: Random) -> Plan:
    """A signal that starts its run, or finds it started, and when that has ended starts another."""
    count = chance.randrange(1, 4)
    heard = [{"kind": "signal", "number": n} for n in range(count)]
    others = [_some(chance, ("activity", "sleep", "local")) for _ in range(chance.randrange(2))]
    program = {"kind": "gather", "nodes": [*heard, *others]}
    if chance.random() < 0.3:
        parts = [{"kind": "gather", "nodes": [one]} for one in program["nodes"]]
        program = {"kind": "chain", "nodes": parts}
    steps: list[Step] = []
    turns = chance.choice((1, 1, 2))
    for turn in range(turns):
        if turn == 0 and chance.random() < 0.3:
            steps.append(Step(Deed.START))
        said = [_sent(chance, n, f"brings-{turn}-{n}") for n in range(count)]
        chance.shuffle(said)
        if turn:
            # What a dead process has asked for has come to the last run by then.
            said[0] = replace(said[0], after=_LONGEST)
        steps += [*said, Step(Deed.RESULT)]
    script = _script(plan, chance, "brings", program, steps)
    is_one_run = turns == 1 and program["kind"] != "chain"
    return _with(plan, replace(script, is_keyed=True, is_one_run=is_one_run))


def _sent(chance: Random, number: int, request_id: str) -> Step:
    after, times = chance.choice((0.0, 0.0, 0.05, 1.0)), chance.choice((1, 1, 2))
    name = f"signal-{number}"
    return Step(Deed.START_WITH_SIGNAL, after, name, number, request_id, times)


# --- what has ended is deleted -------------------------------------------------------------------


def _kept_for_long(plan: Plan, chance: Random) -> Plan:
    """An id is used again and again, and what has ended is kept for longer than anybody who has
    heard no answer asks again."""
    count = chance.randrange(3)
    heard = [{"kind": "signal", "number": n} for n in range(count)]
    nodes = [*heard, _some(chance, ("activity", "sleep", "child", "undone saga"))]
    program = {"kind": chance.choice(("sequence", "chain")), "nodes": nodes}
    if program["kind"] == "chain":
        program["nodes"] = [_part(one) for one in nodes]
    steps: list[Step] = []
    for turn in range(chance.choice((2, 3))):
        pause = chance.choice((0.0, 0.5, _KEPT + 3)) if turn else 0.0
        steps.append(Step(Deed.START, pause, request_id=f"use-{turn}", times=_times(chance)))
        if turn and chance.random() < 0.7:
            steps += _said_again(chance, chance.randrange(turn), count)
        said = [Step(Deed.SIGNAL, 0.0, f"signal-{n}", n, f"use-{turn}-{n}") for n in range(count)]
        steps += [*(replace(one, times=_times(chance)) for one in said), Step(Deed.RESULT)]
    retention = Retention("used", chance.randrange(plan.nodes), _KEPT, spares_chains=True)
    script = _script(plan, chance, "used", program, steps)
    return replace(_with(plan, script), retention=retention)


_KEPT: Final = 12.0


def _said_again(chance: Random, turn: int, count: int) -> Iterator[Step]:
    """What was said in an earlier turn is said once more."""
    for n in range(count):
        if chance.random() < 0.5:
            request_id = f"use-{turn}-{n}"
            yield Step(Deed.SIGNAL, 0.0, f"signal-{n}", n, request_id, to_start=turn)


def _deleted_at_once(plan: Plan, chance: Random) -> Plan:
    """What has ended is deleted at once, also what is being continued and what was awaited."""
    kinds = ("activity", "sleep", "flaky", "child", "failing child", "late child")
    parts = [_part(_some(chance, kinds)) for _ in range(chance.randrange(1, 4))]
    program = {"kind": chance.choice(("chain", "gather")), "nodes": parts}
    script = _script(plan, chance, "gone", program, _TO_ITS_END * chance.choice((1, 2)))
    keep, node = chance.choice((0.0, 0.5)), chance.randrange(plan.nodes)
    retention = Retention("gone", node, keep, spares_chains=False)
    return replace(_with(plan, replace(script, is_keyed=False)), retention=retention)


# --- scripts -------------------------------------------------------------------------------------

_EXTRAS: Final[tuple[Callable[[Plan, Random], Plan], ...]] = (
    _with_office,
    _with_limits,
    _with_tries,
    _with_signals,
    _kept_for_long,
    _deleted_at_once,
)

_TO_ITS_END: Final = (Step(Deed.START), Step(Deed.RESULT))


def _with(plan: Plan, script: Script) -> Plan:
    return replace(plan, scripts=(*plan.scripts, script))


def _script(plan: Plan, chance: Random, workflow_id: str, program: Node, steps: Any) -> Script:
    at, node = chance.choice((0.0, 0.1, 1.0)), chance.randrange(plan.nodes)
    return Script(workflow_id, program, at, node, tuple(steps), is_keyed=chance.random() < 0.5)


def _talked_to(plan: Plan, chance: Random, workflow_id: str, program: Node) -> Script:
    """With all that its program waits for."""
    steps = [Step(Deed.START, times=_times(chance))]
    for count, (kind, value) in enumerate(wanted(program)):
        name = {"signal": f"signal-{value}", "flag": "flag", "update": "change"}[kind]
        deed = Deed.UPDATE if kind == "update" else Deed.SIGNAL
        after = chance.choice((0.0, 0.05, 0.5))
        request_id = f"{workflow_id}-{count}"
        steps.append(Step(deed, after, name, value, request_id, _times(chance)))
    script = _script(plan, chance, workflow_id, program, [*steps, Step(Deed.RESULT)])
    # A run of its own that a dead process's start comes to would wait for ever.
    return replace(script, is_keyed=True)


def _some(chance: Random, kinds: tuple[str, ...]) -> Node:
    kind = chance.choice(kinds)
    if kind in ("child", "failing child", "undone saga"):
        return {"kind": kind, "nodes": [_some(chance, ("activity", "sleep", "local"))]}
    return {"kind": kind, "number": chance.randrange(4)}


def _part(node: Node) -> Node:
    return {"kind": "sequence", "nodes": [node]}


def _times(chance: Random) -> int:
    return 1 if chance.random() < 0.7 else 2
