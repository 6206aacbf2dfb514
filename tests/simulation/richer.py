"""Plans with more of something: crowds, breadth, length, and code that ends its process."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from tests.simulation.plan import CallFault, Deed, Fault, Plan, Script, Step, plain_plan, with_keys
from tests.simulation.programs import DEADLY, some_long_chain, some_short, some_wide, wanted


def rich_plan(seed: int) -> Plan:
    """Few programs of few parts; in four of seven there is more of something."""
    plan, chance = plain_plan(seed), Random(f"more {seed}")
    return chance.choice((_plain, _plain, _plain, _crowded, _wide, _long, _deadly))(plan, chance)


def _plain(plan: Plan, chance: Random) -> Plan:
    return plan


def _crowded(plan: Plan, chance: Random) -> Plan:
    """Many clients of one process, who begin at once; sometimes nothing goes wrong."""
    node = chance.randrange(plan.nodes)
    scripts = tuple(
        Script(f"c{n}", some_short(chance), 0.0, node, _to_its_end(), True, _delay(chance))
        for n in range(chance.randrange(6, 13))
    )
    plan = replace(plan, scripts=(*plan.scripts, *scripts))
    if chance.random() < 0.5:
        return _calmed(plan, chance)
    # What they ask for together is refused as a whole.
    return replace(plan, call_faults=(CallFault.SPOILED,), fault_rate=0.5)


def _wide(plan: Plan, chance: Random) -> Plan:
    node = chance.randrange(plan.nodes)
    wide = Script("wide", some_wide(chance), 0.0, node, _to_its_end(), True, _delay(chance))
    plan = replace(plan, scripts=(*plan.scripts, wide))
    return _calmed(replace(plan, settings=plan.settings | {"concurrency": 1000}), chance)


def _long(plan: Plan, chance: Random) -> Plan:
    program, node = some_long_chain(chance), chance.randrange(plan.nodes)
    said = [
        Step(Deed.SIGNAL, chance.choice((0.0, 0.02, 0.1)), f"signal-{n}", n, f"long-{n}")
        for _, n in wanted(program)
    ]
    steps = (Step(Deed.START), *said, Step(Deed.RESULT))
    return replace(plan, scripts=(*plan.scripts, Script("long", program, 0.0, node, steps, True)))


def _deadly(plan: Plan, chance: Random) -> Plan:
    """Its client is in a process that has no worker: it would die with it, and begin anew."""
    deadly = Script(DEADLY_ID, DEADLY, 0.0, plan.workers, _to_its_end(), True)
    # By a clock that is half a minute ahead it would be tried again at once, and then not for long.
    blows = tuple(blow for blow in plan.blows if blow.fault is not Fault.CLOCK)
    scripts = with_keys(plan.scripts) if CallFault.SLOW in plan.call_faults else plan.scripts
    return _calmed(replace(plan, scripts=(*scripts, deadly), blows=blows), chance)


DEADLY_ID: Final = "deadly"


def _to_its_end() -> tuple[Step, ...]:
    return (Step(Deed.START), Step(Deed.RESULT))


def _delay(chance: Random) -> float | None:
    return chance.choice((None, None, 0.3, 2.0))


def _calmed(plan: Plan, chance: Random) -> Plan:
    """Half of them without any fault."""
    if chance.random() < 0.5:
        return plan
    return replace(plan, blows=(), call_faults=(), fault_rate=0.0, latency=min(plan.latency, 0.01))
