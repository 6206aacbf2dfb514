"""I3, I4 and I7: what must be so within each history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from loom.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    WorkflowFailed,
    WorkflowTimedOut,
)
from loom.history.failures import FailureKind
from loom.history.payloads import PayloadConverter
from loom.identifiers import MICROS_PER_SECOND, Micros
from tests.proof.records import NOTHING, RAISED, Commit, Evidence, RunDump

_CONVERTER = PayloadConverter()

OVERDUE: Micros = 60 * MICROS_PER_SECOND
"""A timer that has not fired so long after its moment, in a quiet store, never will."""

# --- I3 ------------------------------------------------------------------------------------------

type _Ledger = Mapping[tuple[str, int], list[Any]]


def results_come_once_and_have_had_their_effect(evidence: Evidence) -> Iterator[str]:
    ledger: dict[tuple[str, int], list[Any]] | None = None
    if evidence.ledger is not None:
        ledger = {}
        for done in evidence.ledger:
            ledger.setdefault((done.activity_key, done.attempt), []).append(done.returned)
    for run in evidence.dump.runs:
        yield from _check_activities(run, ledger)


def _check_activities(run: RunDump, ledger: _Ledger | None) -> Iterator[str]:
    scheduled: dict[int, ActivityScheduled] = {}
    ended: set[int] = set()
    for sequence, stamped in run.history:
        event = stamped.event
        if isinstance(event, ActivityScheduled):
            if event.activity_id in scheduled:
                yield f"{run} has scheduled activity {event.activity_id} twice"
            scheduled[event.activity_id] = event
        elif isinstance(event, ActivityCompleted | ActivityFailed):
            if event.activity_id not in scheduled:
                yield f"event {sequence} of {run} ends an activity that was never scheduled"
            if event.activity_id in ended:
                yield f"event {sequence} of {run} ends activity {event.activity_id} once more"
            ended.add(event.activity_id)
            if ledger is not None:
                yield from _had_its_effect(run, sequence, event, ledger)
    over = {t.activity_id for t in run.tasks} & ended
    if over:
        yield f"{run} has the outcomes of {sorted(over)} in history, and their tasks still"


def _had_its_effect(
    run: RunDump, sequence: int, event: ActivityCompleted | ActivityFailed, ledger: _Ledger
) -> Iterator[str]:
    done = ledger.get((f"{run.run.run_id}/{event.activity_id}", event.attempt), [])
    if isinstance(event, ActivityFailed):
        raised = event.failure.kind is FailureKind.ERROR
        if raised and not any(value in (RAISED, NOTHING) for value in done):
            yield f"event {sequence} of {run} is a failure that no execution ended in"
        return
    if not done:
        yield f"event {sequence} of {run} is a result without an effect"
        return
    value = _CONVERTER.decode(event.payload, object)
    if NOTHING not in done and value not in done:
        yield f"event {sequence} of {run} is {value!r}, and the ledger has {done!r}"


# --- I4 ------------------------------------------------------------------------------------------


def histories_are_gapless_and_fenced(evidence: Evidence) -> Iterator[str]:
    for run in evidence.dump.runs:
        yield from _is_gapless(run)
    yield from _is_fenced(evidence.commits)


def _is_gapless(run: RunDump) -> Iterator[str]:
    sequences = [event.sequence for event in run.events]
    if sequences != list(range(1, len(sequences) + 1)):
        yield f"the events of {run} are {sequences}"
    if run.run.sequence != len(sequences):
        yield f"{run} has {len(sequences)} events, and says {run.run.sequence}"
    if run.events and run.started is None:
        yield f"the history of {run} begins with {run.events[0].type}"
    stamps = [event.recorded_at for event in run.events]
    if stamps != sorted(stamps):
        yield f"the stamps of {run} decrease"


def _is_fenced(commits: tuple[Commit, ...] | Any) -> Iterator[str]:
    """Of each run: every transition follows on the last, and no token is older than one seen."""
    at: dict[int, tuple[int, int, str | None]] = {}
    for commit in commits:
        token, sequence, owner = at.get(commit.run_key, (commit.token, None, commit.owner))
        if commit.claimed is not None and commit.token < commit.claimed:
            yield (
                f"run {commit.run_key}: {commit.owner} has written with token {commit.token} "
                f"when {commit.claimed} had been given out"
            )
        if commit.token < token:
            yield f"run {commit.run_key}: token {commit.token} has written after {token}"
        if commit.token == token and commit.owner != owner:
            yield f"run {commit.run_key}: {owner} and {commit.owner} both write with {token}"
        if sequence is not None and commit.expected_sequence != sequence:
            yield (
                f"run {commit.run_key}: a transition for sequence {commit.expected_sequence} was "
                f"written at {sequence}"
            )
        sequence = commit.expected_sequence + commit.events
        at[commit.run_key] = commit.token, sequence, commit.owner


# --- I7 ------------------------------------------------------------------------------------------


def timers_fire_once_and_in_time(evidence: Evidence) -> Iterator[str]:
    for run in evidence.dump.runs:
        yield from _check_timers(run, evidence)
        yield from _began_in_time(run)
        yield from _ended_in_time(run)
    yield from _tries_begin_in_time(evidence)


def _check_timers(run: RunDump, evidence: Evidence) -> Iterator[str]:
    running: dict[int, Micros] = {}
    fired: Counter[int] = Counter()
    for sequence, stamped in run.history:
        match stamped.event:
            case TimerStarted(timer_id=timer_id, fire_at=fire_at):
                running[timer_id] = fire_at
            case TimerCancelled(timer_id=timer_id):
                running.pop(timer_id, None)
            case TimerFired(timer_id=timer_id):
                fired[timer_id] += 1
                fire_at = running.pop(timer_id, None)
                if fire_at is None:
                    yield f"event {sequence} of {run} fires timer {timer_id}, which is not running"
                elif stamped.at < fire_at:
                    early = (fire_at - stamped.at) / MICROS_PER_SECOND
                    yield f"event {sequence} of {run} fires timer {timer_id} {early} s early"
    if not run.is_open or not evidence.is_quiet or run.run.workflow_id in evidence.poisoned:
        return
    for timer_id, fire_at in running.items():
        if fire_at + OVERDUE < evidence.dump.at:
            yield f"timer {timer_id} of {run} was lost"


def _began_in_time(run: RunDump) -> Iterator[str]:
    started = run.started
    if started is None or started.start_at is None:
        return
    for sequence, stamped in run.history[1:]:
        if isinstance(stamped.event, ActivityScheduled) and stamped.at < started.start_at:
            yield f"event {sequence} of {run} comes before it may begin"


def _ended_in_time(run: RunDump) -> Iterator[str]:
    """A run that has timed out had a limit, which was reached."""
    limits = run.started.limits if run.started is not None else None
    for sequence, stamped in run.history:
        is_early = limits is None or stamped.at < limits.deadline
        if isinstance(stamped.event, WorkflowTimedOut) and is_early:
            yield f"event {sequence} of {run} ends it before its time: {run.started}"


def _tries_begin_in_time(evidence: Evidence) -> Iterator[str]:
    runs = evidence.dump.by_run_id()
    for run in evidence.dump.runs:
        before = runs.get(run.run.continued_from or "")
        failed = before.final if before is not None else None
        if isinstance(failed, WorkflowFailed) and failed.retry_at and run.history:
            early = failed.retry_at - run.history[0][1].at
            if early > 0:
                yield f"{run} begins {early} us before its time"
