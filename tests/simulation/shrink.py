"""Making a plan smaller for as long as it violates the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.simulation.plan import Plan, Script
from tests.simulation.stores import Tier
from tests.simulation.trial import Report, run_plan


def shrunk(plan: Plan, tier: Tier, *, tries: int = 300) -> tuple[Plan, Report]:
    """The smallest plan that was found, and what it violates."""
    report = run_plan(plan, tier)
    wanted = {violation.invariant for violation in report.violations}
    if not wanted:
        return plan, report
    smaller = _smaller(plan)
    while tries > 0 and (candidate := next(smaller, None)) is not None:
        tries -= 1
        found = run_plan(candidate, tier)
        if wanted & {violation.invariant for violation in found.violations}:
            plan, report, smaller = candidate, found, _smaller(candidate)
    return plan, report


def _smaller(plan: Plan) -> Iterator[Plan]:
    """What may be left out, the largest first."""
    if plan.fault_rate:
        yield replace(plan, fault_rate=0.0)
    if plan.blows:
        yield replace(plan, blows=())
    yield from (replace(plan, scripts=rest) for rest in _without_one(plan.scripts) if rest)
    yield from (replace(plan, blows=rest) for rest in _without_one(plan.blows))
    yield from (replace(plan, call_faults=rest) for rest in _without_one(plan.call_faults))
    if plan.retention is not None:
        yield replace(plan, retention=None)
    if plan.workers > 1:
        at_most, kept = plan.workers - 1, plan.retention
        yield replace(
            plan,
            workers=at_most,
            scripts=tuple(replace(s, node=min(s.node, at_most)) for s in plan.scripts),
            blows=tuple(replace(b, node=min(b.node, at_most)) for b in plan.blows),
            office=None if plan.office is None else min(plan.office, at_most),
            retention=kept and replace(kept, node=min(kept.node, at_most)),
        )
    for number, script in enumerate(plan.scripts):
        for smaller in _smaller_scripts(script):
            scripts = (*plan.scripts[:number], smaller, *plan.scripts[number + 1 :])
            yield replace(plan, scripts=scripts)


def _smaller_scripts(script: Script) -> Iterator[Script]:
    """Without what is said twice; the program and what it waits for belong together."""
    for number, step in enumerate(script.steps):
        if step.times > 1:
            once = replace(step, times=1)
            yield replace(script, steps=(*script.steps[:number], once, *script.steps[number + 1 :]))


def _without_one[T](items: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    for number in range(len(items)):
        yield (*items[:number], *items[number + 1 :])
