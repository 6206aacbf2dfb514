"""The checker finds nothing in honest records, and each invariant's violations in forged ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import loom
from loom.history.codec import encode_attributes
from loom.history.events import (
    ActivityScheduled,
    Event,
    SignalReceived,
    TimerFired,
    TimerStarted,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
    request_message_id,
)
from loom.history.failures import Failure
from loom.history.status import RunStatus
from loom.identifiers import RunId
from loom.runner.transitions import event_of
from loom.storage.records import Arrival, EventRecord, InboxRecord
from loom.testing import WorkflowEnvironment
from tests.proof.checker import Invariant, check
from tests.proof.dump import take_dump
from tests.proof.records import (
    Asked,
    Commit,
    Dump,
    Evidence,
    Execution,
    Outcome,
    RunDump,
    Told,
)
from tests.simulation.programs import EVERYTHING, Program, messages
from tests.simulation.world import ACTIVITIES, WORLD

ID = "everything"


async def honest_evidence() -> Evidence:
    """Of one run that does everything, and of one that waits still."""
    WORLD.clear()
    waiting: Any = {"kind": "signal", "number": 9}
    async with WorkflowEnvironment(workflows=[Program], activities=ACTIVITIES) as env:
        handle = await env.start(Program, EVERYTHING, id=ID, idempotency_key="one")
        start = Told(Asked.START, Outcome.OK, ID, handle.run_id, "one")
        told = [start, start]
        for number, (kind, value) in enumerate(messages(EVERYTHING)):
            asked = Asked.UPDATE if kind == "update" else Asked.SIGNAL
            answer: dict[str, Any] = {}
            if kind == "update":
                answer["value"] = await handle.update("change", value, request_id=str(number))
            else:
                name = f"signal-{value}" if kind == "signal" else "flag"
                await handle.signal(name, value, request_id=str(number))
            told.append(Told(asked, Outcome.OK, ID, handle.run_id, str(number), **answer))
        result = await handle.result()
        told.append(Told(Asked.RESULT, Outcome.OK, ID, handle.run_id, value=result))
        await env.start(Program, waiting, id="waiting")
        await env.advance(timedelta(days=1))
        now = round(env.now.timestamp() * 1_000_000)
        dump = await take_dump(env._inner.repository, now)
    return Evidence(
        dump,
        told,
        tuple(WORLD.executions),
        may_stay_open=frozenset({"waiting"}),
    )


@pytest.fixture(scope="module")
def honest() -> Evidence:
    return asyncio.run(honest_evidence())


def found(evidence: Evidence) -> set[Invariant]:
    replayer = loom.Replayer(workflows=[Program])
    return {violation.invariant for violation in check(evidence, replayer=replayer)}


def test_honest_records_violate_nothing(honest: Evidence) -> None:
    assert check(honest, replayer=loom.Replayer(workflows=[Program])) == []


# --- forging -------------------------------------------------------------------------------------


def with_runs(evidence: Evidence, change: Callable[[RunDump], RunDump | None]) -> Evidence:
    runs = tuple(run for old in evidence.dump.runs if (run := change(old)) is not None)
    assert runs != evidence.dump.runs, "nothing was forged"
    return replace(evidence, dump=replace(evidence.dump, runs=runs))


def with_events(
    evidence: Evidence, change: Callable[[list[EventRecord]], list[EventRecord]]
) -> Evidence:
    """Each history changed, and numbered anew."""

    def change_run(run: RunDump) -> RunDump:
        events = change(list(run.events))
        numbered = tuple(replace(e, sequence=n) for n, e in enumerate(events, 1))
        return replace(run, run=replace(run.run, sequence=len(numbered)), events=numbered)

    return with_runs(evidence, change_run)


def doubled(kind: str) -> Callable[[list[EventRecord]], list[EventRecord]]:
    """The first event of a type comes twice."""

    def change(events: list[EventRecord]) -> list[EventRecord]:
        at = next((n for n, e in enumerate(events) if e.type == kind), None)
        return events if at is None else [*events[: at + 1], *events[at:]]

    return change


def without(kind: str) -> Callable[[list[EventRecord]], list[EventRecord]]:
    return lambda events: [event for event in events if event.type != kind]


def changed(
    kind: str, change_one: Callable[[EventRecord], EventRecord]
) -> Callable[[list[EventRecord]], list[EventRecord]]:
    return lambda events: [change_one(e) if e.type == kind else e for e in events]


def _with_a_limit(record: EventRecord) -> EventRecord:
    event = event_of(record)
    assert isinstance(event, ActivityScheduled)
    return replace(record, attributes=encode_attributes(replace(event, heartbeat=7)))


def _set_earlier(record: EventRecord) -> EventRecord:
    event = event_of(record)
    assert isinstance(event, TimerStarted)
    earlier = replace(event, fire_at=event.fire_at - 1)
    return replace(record, attributes=encode_attributes(earlier))


def _is_waiting(run: RunDump) -> bool:
    return run.run.workflow_id == "waiting"


def _with_a_timer(evidence: Evidence, *, lasts: int, fires_after: int | None) -> Evidence:
    def change(run: RunDump) -> RunDump:
        if not _is_waiting(run):
            return run
        at = run.events[-1].recorded_at
        events = [TimerStarted(7, at + lasts)]
        stamps = [at]
        records = [*run.events]
        if fires_after is not None:
            events.append(TimerFired(7))  # type: ignore[arg-type]
            stamps.append(at + fires_after)
        for event, stamp in zip(events, stamps, strict=True):
            attributes, version = encode_attributes(event), event.schema_version
            number = len(records) + 1
            records.append(EventRecord(number, event.type, version, stamp, attributes))
        return replace(run, run=replace(run.run, sequence=len(records)), events=tuple(records))

    return with_runs(evidence, change)


# --- one for each way in which a promise may be broken --------------------------------------------


def told_more(*more: Told) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, told=[*evidence.told, *more])


def _ended_at(evidence: Evidence, workflow_id: str = ID) -> int:
    runs = [run.run for run in evidence.dump.runs if run.run.workflow_id == workflow_id]
    return max(run.closed_at or 0 for run in runs)


def told_before_the_end(asked: Asked) -> Callable[[Evidence], Evidence]:
    """Acknowledged when its run had long to go, which has not heard of it all the same."""
    return lambda evidence: told_more(
        Told(asked, Outcome.OK, ID, None, "early", asked_at=0, answered_at=1)
    )(evidence)


def _overtaken(evidence: Evidence) -> Evidence:
    """Another signal, which was sent later, was heard."""
    end = _ended_at(evidence)
    told = [
        replace(one, asked_at=end, answered_at=end) if one.asked is Asked.SIGNAL else one
        for one in evidence.told
    ]
    early = Told(Asked.SIGNAL, Outcome.OK, ID, None, "early", asked_at=end - 2, answered_at=end - 1)
    return replace(evidence, told=[early, *told])


def _another_message_waits(evidence: Evidence) -> Evidence:
    forged = with_runs(evidence, lambda run: _hearing(run, "other") if _is_waiting(run) else run)
    return told_more(Told(Asked.CANCEL, Outcome.OK, "waiting"))(forged)


def _terminated_too_late(evidence: Evidence) -> Evidence:
    """It was said to have ended long before it did."""
    told = Told(Asked.TERMINATE, Outcome.OK, "waiting", asked_at=0, answered_at=1)
    return told_more(told)(ending(evidence, WorkflowTerminated(""), RunStatus.TERMINATED))


def _told_of_what_had_ended(evidence: Evidence) -> Evidence:
    """A start of another key was told of a run that had closed when it was asked for."""
    later = _ended_at(evidence) + 2 * evidence.slack
    told = next(one for one in evidence.told if one.asked is Asked.START)
    return told_more(replace(told, request_id="other", asked_at=later, answered_at=later))(evidence)


def _out_of_order(evidence: Evidence) -> Evidence:
    """Clients have said everything the other way round."""
    said = {Asked.SIGNAL, Asked.UPDATE}
    count = len(evidence.told)
    told = [
        replace(one, asked_at=count - n, answered_at=count - n) if one.asked in said else one
        for n, one in enumerate(evidence.told)
    ]
    return replace(evidence, told=told)


def _hearing(run: RunDump, request_id: str) -> RunDump:
    """A run in whose inbox waits what a client has said."""
    arrival = Arrival(SignalReceived.type, 1, encode_attributes(SignalReceived("other", b"")))
    return replace(run, inbox=(InboxRecord(1, request_message_id(request_id), arrival),))


def _first(evidence: Evidence) -> RunId:
    """The run that another continues."""
    return next(r.run.continued_from for r in evidence.dump.runs if r.run.continued_from)


def _a_key_started_two_runs(evidence: Evidence) -> Evidence:
    runs = evidence.dump.runs
    first = next(run for run in runs if run.key == _first(evidence))
    events = tuple(replace(event, message_id=None) for event in first.events)
    another = replace(first, run=replace(first.run, run_id="f" * 32), events=events)
    return replace(evidence, dump=replace(evidence.dump, runs=(*runs, another)))


def ending(evidence: Evidence, event: Event, status: RunStatus) -> Evidence:
    """The run that waits ends with that event instead, as the dump is taken."""
    at = evidence.dump.at

    def change(run: RunDump) -> RunDump:
        if not _is_waiting(run):
            return run
        number, attributes = len(run.events) + 1, encode_attributes(event)
        last = EventRecord(number, event.type, event.schema_version, at, attributes)
        record = replace(run.run, sequence=number, status=status, closed_at=at)
        return replace(run, run=record, events=(*run.events, last))

    return with_runs(evidence, change)


def _timed_out_early(evidence: Evidence) -> Evidence:
    return ending(evidence, WorkflowTimedOut(), RunStatus.TIMED_OUT)


def _tried_again_early(evidence: Evidence) -> Evidence:
    """The run that waits fails and is to be tried later, and another has begun already."""
    at = evidence.dump.at + 1
    failed = WorkflowFailed(Failure("ValueError", "no"), "e" * 32, retry_at=at)
    forged = ending(evidence, failed, RunStatus.FAILED)
    before = next(run for run in evidence.dump.runs if _is_waiting(run))
    again = replace(before, run=replace(before.run, run_id="e" * 32, continued_from=before.key))
    return replace(forged, dump=replace(forged.dump, runs=(*forged.dump.runs, again)))


def _loses_an_effect(evidence: Evidence) -> Evidence:
    assert evidence.ledger
    kept = [one for one in evidence.ledger if one.returned != 9]
    assert len(kept) < len(evidence.ledger)
    return replace(evidence, ledger=kept)


def _changes_an_effect(evidence: Evidence) -> Evidence:
    assert evidence.ledger
    other = [
        Execution(one.activity_key, one.attempt, 8) if one.returned == 9 else one
        for one in evidence.ledger
    ]
    return replace(evidence, ledger=other)


def _closed_run_has_grown(evidence: Evidence) -> Evidence:
    closed = next(run for run in evidence.dump.runs if not run.is_open)
    shorter = replace(
        closed, events=closed.events[:-1], run=replace(closed.run, sequence=len(closed.events) - 1)
    )
    return replace(evidence, earlier=[Dump((shorter,), 0)])


def _history_was_rewritten(evidence: Evidence) -> Evidence:
    run = evidence.dump.runs[-1]
    event = replace(run.events[0], recorded_at=run.events[0].recorded_at + 1)
    before = replace(run, events=(event, *run.events[1:]))
    return replace(evidence, earlier=[Dump((before,), 0)])


def _status(evidence: Evidence, status: RunStatus) -> Evidence:
    return with_runs(
        evidence,
        lambda run: replace(run, run=replace(run.run, status=status)) if _is_waiting(run) else run,
    )


def _zombie(*commits: Commit) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, commits=commits)


FORGERIES: dict[str, tuple[Invariant, Callable[[Evidence], Evidence]]] = {
    "a started run is nowhere": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        told_more(Told(Asked.START, Outcome.OK, "gone", "0" * 32, "two")),
    ),
    "a signal is nowhere": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        told_more(Told(Asked.SIGNAL, Outcome.OK, "waiting", None, "said")),
    ),
    "a cancellation is nowhere": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        told_more(Told(Asked.CANCEL, Outcome.OK, "waiting")),
    ),
    "a terminated run goes on": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        told_more(Told(Asked.TERMINATE, Outcome.OK, "waiting")),
    ),
    "a cancellation was not heard before the end": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        told_before_the_end(Asked.CANCEL),
    ),
    "a termination was not heard before the end": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        told_before_the_end(Asked.TERMINATE),
    ),
    "a run ended long after its termination was acknowledged": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        _terminated_too_late,
    ),
    "something else waits where a cancellation should": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        _another_message_waits,
    ),
    "a signal was not heard before the end": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        told_before_the_end(Asked.SIGNAL),
    ),
    "a signal was not heard, and a later one was": (Invariant.ACKNOWLEDGED_IS_KEPT, _overtaken),
    "a signal was not heard, nor left when its run closed": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        lambda evidence: told_more(Told(Asked.SIGNAL, Outcome.OK, ID, None, "said"))(
            replace(evidence, left={})
        ),
    ),
    "a run was never stored by the key of its start": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        told_more(Told(Asked.START, Outcome.OK, ID, None, "another")),
    ),
    "a start was told of a run that had ended": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        _told_of_what_had_ended,
    ),
    "a child of a closed run is nowhere": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        lambda evidence: with_runs(
            evidence, lambda run: None if run.started and run.started.parent else run
        ),
    ),
    "an update has returned something else": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        lambda evidence: replace(
            evidence,
            told=[
                replace(told, value=77) if told.asked is Asked.UPDATE else told
                for told in evidence.told
            ],
        ),
    ),
    "a child is nowhere": (
        Invariant.ACKNOWLEDGED_IS_KEPT,
        lambda evidence: with_runs(
            with_runs(evidence, lambda run: None if run.started and run.started.parent else run),
            lambda run: replace(
                run, run=replace(run.run, status=RunStatus.RUNNING), events=run.events[:-1]
            ),
        ),
    ),
    "a signal came twice": (
        Invariant.ONE_EFFECT,
        lambda evidence: with_events(evidence, doubled("SIGNAL_RECEIVED")),
    ),
    "an update was done twice": (
        Invariant.ONE_EFFECT,
        lambda evidence: with_events(evidence, doubled("UPDATE_COMPLETED")),
    ),
    "a start began two runs": (
        Invariant.ONE_EFFECT,
        lambda evidence: told_more(
            Told(Asked.START, Outcome.OK, ID, evidence.dump.runs[0].run.run_id, "one")
        )(evidence),
    ),
    "a refused signal has come": (
        Invariant.ONE_EFFECT,
        lambda evidence: told_more(Told(Asked.SIGNAL, Outcome.FAILED, ID, None, "refused"))(
            with_events(
                evidence,
                lambda events: [
                    replace(event, message_id=request_message_id("refused"))
                    if event.type == "SIGNAL_RECEIVED"
                    else event
                    for event in events
                ],
            )
        ),
    ),
    "what was said to one run came to another": (
        Invariant.ONE_EFFECT,
        lambda evidence: with_runs(
            evidence, lambda run: _hearing(run, "0") if _is_waiting(run) else run
        ),
    ),
    "two runs that have one id heard the same": (
        Invariant.ONE_EFFECT,
        lambda evidence: with_runs(
            evidence,
            lambda run: (
                replace(_hearing(run, "0"), run=replace(run.run, workflow_id=ID))
                if _is_waiting(run)
                else run
            ),
        ),
    ),
    "what was said later came first": (Invariant.ONE_EFFECT, _out_of_order),
    "one key started two runs": (Invariant.ONE_EFFECT, _a_key_started_two_runs),
    "a chain forks": (
        Invariant.ONE_EFFECT,
        lambda evidence: with_runs(
            evidence,
            lambda run: (
                replace(run, run=replace(run.run, continued_from=_first(evidence)))
                if _is_waiting(run)
                else run
            ),
        ),
    ),
    "two open runs have one id": (
        Invariant.ONE_EFFECT,
        lambda evidence: replace(
            evidence, dump=replace(evidence.dump, runs=evidence.dump.runs + evidence.dump.runs)
        ),
    ),
    "a result came twice": (
        Invariant.RESULTS_ONCE,
        lambda evidence: with_events(evidence, doubled("ACTIVITY_COMPLETED")),
    ),
    "a result had no effect": (Invariant.RESULTS_ONCE, _loses_an_effect),
    "a result is not that of its effect": (Invariant.RESULTS_ONCE, _changes_an_effect),
    "a result of nothing that was asked for": (
        Invariant.RESULTS_ONCE,
        lambda evidence: with_events(evidence, without("ACTIVITY_SCHEDULED")),
    ),
    "an event is missing": (
        Invariant.GAPLESS_AND_FENCED,
        lambda evidence: with_runs(
            evidence, lambda run: replace(run, events=(run.events[0], *run.events[2:]))
        ),
    ),
    "a run says more events than it has": (
        Invariant.GAPLESS_AND_FENCED,
        lambda evidence: with_runs(
            evidence, lambda run: replace(run, run=replace(run.run, sequence=999))
        ),
    ),
    "a stale token has written": (
        Invariant.GAPLESS_AND_FENCED,
        _zombie(Commit(1, 2, "b", 3, 1), Commit(1, 1, "a", 4, 1)),
    ),
    "an owner has written that was taken over": (
        Invariant.GAPLESS_AND_FENCED,
        _zombie(Commit(1, 1, "a", 3, 1, claimed=2)),
    ),
    "two have written at one place": (
        Invariant.GAPLESS_AND_FENCED,
        _zombie(Commit(1, 1, "a", 3, 1), Commit(1, 2, "b", 3, 1)),
    ),
    "something follows the end": (
        Invariant.CLOSED_IS_CLOSED,
        lambda evidence: with_events(evidence, doubled("WORKFLOW_COMPLETED")),
    ),
    "a closed run has grown": (Invariant.CLOSED_IS_CLOSED, _closed_run_has_grown),
    "a history was rewritten": (Invariant.CLOSED_IS_CLOSED, _history_was_rewritten),
    "a run has gone": (
        Invariant.CLOSED_IS_CLOSED,
        lambda evidence: replace(
            with_runs(evidence, lambda run: None if _is_waiting(run) else run),
            earlier=[evidence.dump],
        ),
    ),
    "a client was told another result": (
        Invariant.CLOSED_IS_CLOSED,
        lambda evidence: replace(
            evidence,
            told=[
                replace(told, value="another") if told.asked is Asked.RESULT else told
                for told in evidence.told
            ],
        ),
    ),
    "a client who knows no run was told another result": (
        Invariant.CLOSED_IS_CLOSED,
        told_more(Told(Asked.RESULT, Outcome.OK, ID, value="another")),
    ),
    "a client was told that a run has failed": (
        Invariant.CLOSED_IS_CLOSED,
        told_more(Told(Asked.RESULT, Outcome.FAILED, ID, status=RunStatus.FAILED)),
    ),
    "a run does not end": (
        Invariant.MOVES_ON,
        lambda evidence: replace(evidence, may_stay_open=frozenset()),
    ),
    "a chain breaks off": (
        Invariant.MOVES_ON,
        lambda evidence: with_runs(
            evidence, lambda run: None if run.run.continued_from is not None else run
        ),
    ),
    "a timer fires early": (
        Invariant.TIMERS,
        lambda evidence: _with_a_timer(evidence, lasts=10, fires_after=9),
    ),
    "a timer fires that was not started": (
        Invariant.TIMERS,
        lambda evidence: with_events(evidence, without("TIMER_STARTED")),
    ),
    "a timer fires twice": (
        Invariant.TIMERS,
        lambda evidence: with_events(evidence, doubled("TIMER_FIRED")),
    ),
    "a run ends before its time": (Invariant.TIMERS, _timed_out_early),
    "a run is tried again before it was to be": (Invariant.TIMERS, _tried_again_early),
    "a timer is lost": (
        Invariant.TIMERS,
        lambda evidence: _with_a_timer(evidence, lasts=10, fires_after=None),
    ),
    "a history has what its code does not ask for": (
        Invariant.REPLAYS,
        lambda evidence: with_events(evidence, without("STATE_SET")),
    ),
    "an activity was given something else than its code gives it": (
        Invariant.REPLAYS,
        lambda evidence: with_events(
            evidence, changed("ACTIVITY_SCHEDULED", lambda e: replace(e, payload=b'{"number":77}'))
        ),
    ),
    "an activity was held to another limit": (
        Invariant.REPLAYS,
        lambda evidence: with_events(evidence, changed("ACTIVITY_SCHEDULED", _with_a_limit)),
    ),
    "a timer was set for another moment": (
        Invariant.REPLAYS,
        lambda evidence: with_events(evidence, changed("TIMER_STARTED", _set_earlier)),
    ),
    "a command was written when nothing had come": (
        Invariant.REPLAYS,
        lambda evidence: with_events(
            evidence,
            changed("STATE_SET", lambda e: replace(e, recorded_at=e.recorded_at + 1)),
        ),
    ),
    "a run is set apart for nothing": (
        Invariant.POISON_STOPS_ALONE,
        lambda evidence: _status(evidence, RunStatus.BLOCKED),
    ),
    "a poisoned run is not set apart": (
        Invariant.POISON_STOPS_ALONE,
        lambda evidence: replace(evidence, poisoned=frozenset({"waiting"})),
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_planted_violation_is_found(honest: Evidence, forgery: str) -> None:
    invariant, forge = FORGERIES[forgery]
    assert invariant in found(forge(honest))


def test_every_invariant_has_its_forgeries() -> None:
    assert {invariant for invariant, _ in FORGERIES.values()} == set(Invariant)
