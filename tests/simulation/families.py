"""What must have come of runs that never end by themselves, and of how runs are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from loom.history.events import (
    CancelSent,
    ChildCancelRequested,
    ChildStarted,
    TagsSet,
    WorkflowStarted,
)
from loom.history.payloads import PayloadConverter
from loom.history.relatives import ParentClosePolicy
from loom.history.status import RunStatus
from loom.identifiers import MICROS_PER_SECOND, RunKey
from loom.storage.records import Labels
from tests.proof.checker import Invariant, Violation
from tests.proof.records import Dump, RunDump
from tests.simulation.network import Network
from tests.simulation.plan import Deed, Plan, Script

_CONVERTER: Final = PayloadConverter()
_NEVER_END: Final = ("endless", "tidies")

_BY_POLICY: Final = {
    ParentClosePolicy.TERMINATE: RunStatus.TERMINATED,
    ParentClosePolicy.CANCEL: RunStatus.CANCELLED,
}

SOON: Final = 5.0
"""Seconds within which a run that is tried again ends that has little left to do."""


def children_end_as_they_should(dump: Dump) -> Iterator[Violation]:
    """One that never ends by itself was called off, or has ended with its parent by its policy."""
    chains = dump.chains()
    for run in dump.runs:
        events = [stamped.event for _, stamped in run.history]
        called_off = {
            event.workflow_id
            for event in events
            if isinstance(event, ChildCancelRequested | CancelSent)
        }
        for asked in events:
            if not isinstance(asked, ChildStarted) or asked.limits or asked.run_id not in chains:
                continue
            child = chains[asked.run_id][-1]
            wanted = {_BY_POLICY.get(asked.policy)}
            if asked.workflow_id in called_off:
                wanted.add(RunStatus.CANCELLED)
            if _never_ends(child) and not child.is_open and child.run.status not in wanted:
                what = f"{child} is {child.run.status}: its parent {run} has left it {asked.policy}"
                yield Violation(Invariant.ACKNOWLEDGED_IS_KEPT, what)


def _never_ends(run: RunDump) -> bool:
    program = _program(run)
    return program is not None and program["kind"] in _NEVER_END


def _program(run: RunDump) -> Any:
    return None if run.started is None else _CONVERTER.decode(run.started.payload, object)


def runs_end_as_they_were_told(plan: Plan, dump: Dump, network: Network) -> Iterator[Violation]:
    """Those that clients alone can end; and those that are tried again once they are mended."""
    scripts = {script.workflow_id: script for script in plan.scripts}
    for run in dump.runs:
        script = scripts.get(run.run.workflow_id)
        if script is None:
            continue
        ended = _ended_by(script)
        if ended is not None and not run.is_open and run.run.status is not ended:
            what = f"{run} is {run.run.status}, and was to be {ended}"
            yield Violation(Invariant.ACKNOWLEDGED_IS_KEPT, what)
        if plan.is_calm:
            yield from _in_time(run, network)


def _ended_by(script: Script) -> RunStatus | None:
    if script.program["kind"] not in _NEVER_END or not script.deeds & {Deed.CANCEL, Deed.TERMINATE}:
        return None
    return RunStatus.CANCELLED if Deed.CANCEL in script.deeds else RunStatus.TERMINATED


def _in_time(run: RunDump, network: Network) -> Iterator[Violation]:
    closed_at, start_at = run.run.closed_at or 0, run.run.start_at
    if start_at is not None and run.run.status is RunStatus.CANCELLED and closed_at >= start_at:
        what = f"{run} has begun, although it was cancelled before"
        yield Violation(Invariant.ACKNOWLEDGED_IS_KEPT, what)
    retried = network.retried.get(run.run.workflow_id)
    late = 0.0 if retried is None else (closed_at - retried) / MICROS_PER_SECOND
    if late > SOON:
        yield Violation(Invariant.MOVES_ON, f"{run} was to be tried again {late} s before its end")


def tags_are_as_history_says(dump: Dump, labels: Mapping[RunKey, Labels]) -> Iterator[Violation]:
    """What a run is found by is what its code has set."""
    for run in dump.runs:
        tags: dict[str, str] = {}
        for _, stamped in run.history:
            if isinstance(stamped.event, WorkflowStarted):
                tags |= stamped.event.tags or {}
            elif isinstance(stamped.event, TagsSet):
                changed = {**tags, **stamped.event.tags}
                tags = {name: value for name, value in changed.items() if value is not None}
        found = labels[run.run.run_key].tags if run.run.run_key in labels else tags
        if found != tags:
            what = f"{run} is found by {found}, and has set {tags}"
            yield Violation(Invariant.ACKNOWLEDGED_IS_KEPT, what)
