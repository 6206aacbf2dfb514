"""I5, I6 and I9: what is closed stays as it is, and all else gets there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from loom.history.events import FINAL_STATUS, ChildCompleted, ChildFailed, WorkflowCompleted
from loom.history.payloads import PayloadConverter
from loom.history.status import RunStatus
from loom.identifiers import RunId
from tests.proof.records import NOTHING, Asked, Dump, Evidence, Outcome, RunDump

_CONVERTER = PayloadConverter()

# --- I5 ------------------------------------------------------------------------------------------


def closed_runs_stay_as_they_are(evidence: Evidence) -> Iterator[str]:
    for run in evidence.dump.runs:
        yield from _nothing_follows_the_end(run)
        if not run.is_open and (run.tasks or run.inbox):
            yield f"{run} is closed, and has tasks or messages"
    for before, after in pairwise([*evidence.earlier, evidence.dump]):
        yield from _only_grew(before, after, evidence)
    yield from _results_are_as_told(evidence)
    yield from _parents_were_told_the_truth(evidence)


def _nothing_follows_the_end(run: RunDump) -> Iterator[str]:
    ends = [sequence for sequence, s in run.history if type(s.event) in FINAL_STATUS]
    if ends and ends != [len(run.history)]:
        yield f"{run} has {len(run.history)} events, and ends at {ends}"
    status = FINAL_STATUS.get(type(run.final)) if run.final is not None else None
    if (status is not None or not run.is_open) and run.run.status is not status:
        yield f"{run} is {run.run.status}, and its history ends as {status}"
    if (run.run.closed_at is None) is not run.is_open:
        yield f"{run} is {run.run.status}, and was closed at {run.run.closed_at}"


def _only_grew(before: Dump, after: Dump, evidence: Evidence) -> Iterator[str]:
    later = after.by_run_id()
    for run in before.runs:
        then = later.get(run.key)
        if then is None:
            if run.key not in evidence.deleted:
                yield f"{run} has gone"
        elif then.events[: len(run.events)] != run.events:
            yield f"the history of {run} has changed"
        elif not run.is_open and len(then.events) != len(run.events):
            yield f"{run} was closed, and has {then.events[-1].type} since"


def _results_are_as_told(evidence: Evidence) -> Iterator[str]:
    runs = evidence.dump.by_run_id()
    newest = {run.run.workflow_id: run for run in _by_age(evidence.dump)}
    for told in evidence.told:
        has_returned = told.outcome is Outcome.OK
        if told.asked is not Asked.RESULT or not (has_returned or told.status):
            continue
        run = _last_of(runs, told.run_id) if told.run_id else newest.get(told.workflow_id)
        if run is None:
            if told.run_id not in evidence.deleted:
                yield f"{told.workflow_id!r} has ended, and is not there"
        elif told.status is not None and run.run.status is not told.status:
            yield f"{run} was said to be {told.status}, and is {run.run.status}"
        elif has_returned and told.value not in (NOTHING, value := result_of(run)):
            yield f"{run} has returned {told.value!r}, and in history there is {value!r}"


def _by_age(dump: Dump) -> list[RunDump]:
    return sorted(dump.runs, key=lambda run: run.run.run_key)


def _last_of(runs: dict[RunId, RunDump], run_id: RunId) -> RunDump | None:
    """The run in which what began with that one has ended."""
    run = runs.get(run_id)
    while run is not None and run.next_run_id is not None:
        run = runs.get(run.next_run_id)
    return run


def result_of(run: RunDump) -> Any:
    """What a run has returned; ``NOTHING`` when it has not."""
    final = run.final
    if not isinstance(final, WorkflowCompleted):
        return NOTHING
    return _CONVERTER.decode(final.payload, object)


def _parents_were_told_the_truth(evidence: Evidence) -> Iterator[str]:
    runs = evidence.dump.by_run_id()
    for run in evidence.dump.runs:
        for sequence, stamped in run.history:
            event = stamped.event
            if isinstance(event, ChildCompleted):
                child = _last_of(runs, event.run_id)
                if child is not None and not _has_result(child, event.payload):
                    yield f"event {sequence} of {run} is no result of {child}"
            elif isinstance(event, ChildFailed) and event.status is not None:
                child = _last_of(runs, event.run_id)
                if child is not None and child.run.status is not event.status:
                    yield f"event {sequence} of {run} says {event.status} of {child}"


def _has_result(child: RunDump, payload: bytes) -> bool:
    final = child.final
    return isinstance(final, WorkflowCompleted) and final.payload == payload


# --- I6 ------------------------------------------------------------------------------------------


def every_run_has_ended(evidence: Evidence) -> Iterator[str]:
    if not evidence.is_quiet:
        return
    runs = evidence.dump.by_run_id()
    excused = evidence.poisoned | evidence.may_stay_open
    for run in evidence.dump.runs:
        following = run.next_run_id
        if following is not None and following not in runs | dict.fromkeys(evidence.deleted):
            yield f"{run} was to be continued by {following}, which is nowhere"
        if run.is_open and run.run.workflow_id not in excused:
            last = run.events[-1].type if run.events else "nothing"
            yield f"{run} is {run.run.status} after {last}, and goes on no more"


# --- I9 ------------------------------------------------------------------------------------------


def poisoned_runs_stop_alone(evidence: Evidence) -> Iterator[str]:
    for run in evidence.dump.runs:
        is_blocked = run.run.status is RunStatus.BLOCKED
        is_poisoned = run.run.workflow_id in evidence.poisoned
        if is_blocked and not is_poisoned and evidence.is_quiet:
            yield f"{run} is BLOCKED, and nothing is wrong with it: {run.run.blocked_reason}"
        if is_poisoned and run.is_open and not is_blocked and evidence.is_quiet:
            yield f"{run} is poisoned, and was not set apart"
