"""What the simulation knows beyond the invariants, since it knows the programs and the clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from loom.history.events import (
    ActivityCompleted,
    ActivityFailed,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
    WorkflowTimedOut,
)
from loom.history.failures import FailureKind
from loom.history.payloads import PayloadConverter
from loom.history.status import RunStatus
from loom.identifiers import MICROS_PER_SECOND
from tests.proof.checker import Invariant, Violation
from tests.proof.records import Dump, Outcome, RunDump
from tests.simulation.plan import CallFault, Fault, Plan, Script
from tests.simulation.richer import DEADLY_ID
from tests.simulation.staff import FINAL
from tests.simulation.world import Handed

_CONVERTER: Final = PayloadConverter()


def cancelled_runs_are_cancelled(dump: Dump) -> Iterator[Violation]:
    """No program ignores that it is cancelled."""
    for run in dump.runs:
        asked = [n for n, s in run.history if isinstance(s.event, WorkflowCancelRequested)]
        if asked and isinstance(run.final, WorkflowCompleted | WorkflowContinuedAsNew):
            what = f"{run} was cancelled by event {asked[0]}, and ended as {run.run.status}"
            yield Violation(Invariant.ACKNOWLEDGED_IS_KEPT, what)


def tries_are_counted(plan: Plan, dump: Dump) -> Iterator[Violation]:
    """None is tried more often than it should be, nor given up too soon."""
    tries = {script.workflow_id: script.tries for script in plan.scripts}
    for run in dump.runs:
        most = tries.get(run.run.workflow_id)
        started, final = run.started, run.final
        if most is None or started is None:
            continue
        if started.attempt > max(most, 1):
            what = f"{run} is try {started.attempt} of {most}"
            yield Violation(Invariant.ONE_EFFECT, what)
        is_last = isinstance(final, WorkflowFailed) and run.next_run_id is None
        has_time = started.limits is None or started.limits.execution_deadline is None
        if is_last and started.attempt < most and has_time:
            what = f"{run} has failed for good at try {started.attempt} of {most}"
            yield Violation(Invariant.MOVES_ON, what)


LATE: Final = 3.0
"""Seconds after which a run has ended whose time is up, where nothing goes wrong."""


def times_were_up(plan: Plan, dump: Dump) -> Iterator[Violation]:
    """Runs time out when the limit is reached that their script sets them."""
    scripts = {script.workflow_id: script for script in plan.scripts}
    has_true_clocks = not any(blow.fault is Fault.CLOCK for blow in plan.blows)
    is_deadly = DEADLY_ID in scripts
    firsts = {run.key: run for run in dump.runs}
    for run in dump.runs:
        if not isinstance(run.final, WorkflowTimedOut):
            continue
        script = scripts.get(run.run.workflow_id)
        if script is None or not has_true_clocks:
            continue
        took = _seconds(run, firsts.get(run.chain, run), script)
        if took < -1.0:
            yield Violation(Invariant.TIMERS, f"{run} has timed out {-took} s early")
        elif took > LATE and plan.is_calm and not is_deadly:
            yield Violation(Invariant.TIMERS, f"{run} has timed out {took} s late")


def _seconds(run: RunDump, first: RunDump, script: Script) -> float:
    """How long after its time was up it has ended, as the script says when that was."""
    ends = []
    for begun, limit in ((run, script.run_timeout), (first, script.execution_timeout)):
        begins_at = max(begun.run.created_at, begun.run.start_at or 0)
        if limit is not None:
            ends.append(begins_at / MICROS_PER_SECOND + limit)
    return (run.run.closed_at or 0) / MICROS_PER_SECOND - min(ends, default=0.0)


def answers_had_one_effect(handed: list[Handed], plan: Plan, dump: Dump) -> Iterator[Violation]:
    """Of all that was said about one activity from outside, one thing is in history: what was
    acknowledged, and nothing that was refused."""
    by_key: dict[str, list[Handed]] = {}
    for one in handed:
        by_key.setdefault(one.activity_key, []).append(one)
    # What is done twice may be told of as what the second time came to.
    may_be_refused = CallFault.TWICE in plan.call_faults
    outcomes = {key: one for run in dump.runs for key, one in _outcomes(run)}
    closed = {run.key for run in dump.runs if run.run.status is RunStatus.COMPLETED}
    for key, tokens in by_key.items():
        taken = [one.serial for one in tokens if _said(one, Outcome.OK)]
        possible = [one.serial for one in tokens if _said(one, Outcome.OK, Outcome.UNKNOWN)]
        found = outcomes.get(key)
        what = f"of activity {key} {taken} were acknowledged, and {found} is in history"
        if len(taken) > 1 or (found is not None and taken not in ([], [found])):
            yield Violation(Invariant.RESULTS_ONCE, what)
        elif found is None and key.split("/")[0] in closed:
            yield Violation(Invariant.ACKNOWLEDGED_IS_KEPT, what)
        elif found is not None and found not in possible and not may_be_refused:
            yield Violation(Invariant.RESULTS_ONCE, f"{what}, which was refused")


def _said(handed: Handed, *outcomes: Outcome) -> bool:
    return any(verb in FINAL and outcome in outcomes for verb, outcome in handed.told)


def _outcomes(run: RunDump) -> Iterator[tuple[str, int]]:
    """What was said from outside of its activities, and is in its history, by its serial."""
    for _, stamped in run.history:
        event = stamped.event
        if isinstance(event, ActivityCompleted):
            value = _CONVERTER.decode(event.payload, object)
            if isinstance(value, dict) and "of" in value:
                yield f"{run.key}/{event.activity_id}", value["of"]
        elif isinstance(event, ActivityFailed) and event.failure.kind is FailureKind.ERROR:
            _, by, serial = event.failure.message.partition(" is refused, by ")
            if by:
                yield f"{run.key}/{event.activity_id}", int(serial)
