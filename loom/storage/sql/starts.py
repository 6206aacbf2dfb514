"""Starting runs: those that clients ask for, and those that turns start.

A workflow id can be waited for: in Postgres, whoever inserts a run waits for others who have
inserted one of the same id, or changed the open one, and not committed. So ids are taken in one
order, before anything else is changed, the ends of runs that make room for new ones in their place
among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

from loom.errors import StoreError, StoreUnavailableError
from loom.identifiers import RunId, RunKey, WorkflowId
from loom.storage.records import (
    Effects,
    Message,
    NewRun,
    RunRecord,
    SendOutcome,
    StartOutcome,
)
from loom.storage.sql.changes import Changes
from loom.storage.sql.dialects import Row
from loom.storage.sql.locks import begin
from loom.storage.sql.rows import RunState, born, inbox_record, run_record
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Many, Overtaken, Query, Transaction
from loom.values import value

_PATIENCE: Final = 10


@dataclass(slots=True)
class Started:
    """What became of the runs that were to be started."""

    outcomes: dict[RunId, StartOutcome] = field(default_factory=dict)
    inserted: set[RunId] = field(default_factory=set)
    """Those of them that this transaction has written."""


def start_runs(s: Statements, runs: Sequence[NewRun]) -> Transaction[list[StartOutcome]]:
    """Create runs, unless the same one or an open one of their workflow id is there."""
    changes = yield from begin(s, (), [message for new in runs for message in _messages_by(new)])
    started = yield from start_all(s, changes, runs)
    for new in runs:
        _tell(changes, new, started)
    yield from changes.flush(s)
    return list(_outcomes_of(runs, started))


def _outcomes_of(runs: Sequence[NewRun], started: Started) -> Iterator[StartOutcome]:
    seen: set[RunId] = set()
    for new in runs:
        outcome = started.outcomes[new.run_id]
        repeats = outcome.created and new.run_id in seen
        yield replace(outcome, repeated=True) if repeats else outcome
        seen.add(new.run_id)


def messages_of(effects: Effects) -> list[Message]:
    """All that a turn may send to runs that are there already."""
    by_starts = (message for new in effects.starts for message in _messages_by(new))
    return [*effects.messages, *by_starts]


def _messages_by(new: NewRun) -> list[Message]:
    # Its own need not be found.
    others = [m for m in messages_of(new.effects) if m.workflow_id != new.workflow_id]
    return [*others, *new.on_conflict]


def reach_out(changes: Changes, effects: Effects, started: Started) -> None:
    """Send what a turn, and the first turns of the runs that it has started, have to say."""
    for new in effects.starts:
        _tell(changes, new, started)
    for message in effects.messages:
        changes.send(message, effects.recorded_at)


def _tell(changes: Changes, new: NewRun, started: Started) -> None:
    if new.run_id in started.inserted:
        # What it has sent to itself is in its inbox already.
        reach_out(changes, new.effects, started)
        return
    outcome = started.outcomes[new.run_id]
    if not outcome.created and outcome.run.status.is_open:
        for message in new.on_conflict:
            sent = changes.send(message, new.effects.recorded_at)
            if _is_for_open_run(message, new) and sent is not SendOutcome.ACCEPTED:
                # For the very run that is in the way, which began after we had looked for it.
                raise Overtaken


def _is_for_open_run(message: Message, new: NewRun) -> bool:
    # What is for a certain run, perhaps one that has closed, is not for whichever has its id now.
    return message.workflow_id == new.workflow_id and message.run_id is None


# --- inserting -----------------------------------------------------------------------------------


def start_all(s: Statements, changes: Changes, runs: Sequence[NewRun]) -> Transaction[Started]:
    """Insert runs that are not there yet, and whatever their first turns start.

    Raises ``Overtaken`` when one was inserted whose starter, as it turned out, cannot be.
    """
    started = Started()
    missing = list(runs)
    # What a run starts is inserted with it, so that it should be sure that it can be itself; and
    # one that may be refused mostly is, when it is not the first.
    look = any(new.effects.starts or _is_particular(new) for new in runs)
    for _ in range(len(runs) + _PATIENCE):
        if look:
            started.outcomes |= yield from _find_standing(s, missing)
            left = [new for new in missing if new.run_id not in started.outcomes]
            started.outcomes |= yield from _find_refusals(s, left)
            missing = [new for new in missing if new.run_id not in started.outcomes]
        if not missing:
            return started
        yield from _insert(s, changes, missing, started)
        missing = list(_not_started(missing, started))
        # What was in the way of an insert may be gone when it is looked for: then try again.
        look = True
    raise StoreUnavailableError("runs of the same workflow ids keep starting and ending")


def _not_started(runs: Iterable[NewRun], started: Started) -> Iterator[NewRun]:
    """What is left to do; a run that is not there has started nothing."""
    for new in runs:
        if new.run_id not in started.outcomes:
            yield new
        elif new.run_id in started.inserted:
            yield from _not_started(new.effects.starts, started)


def _find_standing(s: Statements, runs: Sequence[NewRun]) -> Transaction[dict[RunId, StartOutcome]]:
    """What stands where these would: they themselves, or open runs of their workflow ids."""
    if not runs:
        return {}
    parameters = {
        "run_ids": s.array([run.run_id for run in runs]),
        "workflow_ids": s.array([run.workflow_id for run in runs]),
    }
    rows = yield Query(s.runs.find_standing, parameters)
    records = [run_record(row) for row in rows]
    same = {record.run_id: record for record in records}
    open_ones = {record.workflow_id: record for record in records if record.closed_at is None}
    outcomes = {}
    for run in runs:
        if run.run_id in same:
            outcomes[run.run_id] = StartOutcome(same[run.run_id], created=True, repeated=True)
        elif run.workflow_id in open_ones and run.continues is None:
            outcomes[run.run_id] = StartOutcome(open_ones[run.workflow_id], created=False)
    return outcomes


def _is_particular(new: NewRun) -> bool:
    """Whether it depends on runs of its workflow id that have ended."""
    return bool(new.refused_after) or new.unless_heard is not None


def _find_refusals(s: Statements, runs: Sequence[NewRun]) -> Transaction[dict[RunId, StartOutcome]]:
    """Those that are refused after how the newest other run of their workflow id has ended, or
    since it has heard what they were to tell it."""
    particular = [new for new in runs if _is_particular(new)]
    if not particular:
        return {}
    parameters = {
        "run_ids": s.array([new.run_id for new in particular]),
        "workflow_ids": s.array([new.workflow_id for new in particular]),
    }
    rows = yield Query(s.runs.find_newest_but, parameters)
    newest = {record.workflow_id: record for record in map(run_record, rows)}
    heard = yield from _find_heard(s, particular, newest)
    outcomes = {}
    for new in particular:
        other = newest.get(new.workflow_id)
        if other is not None and new.run_id in heard:
            outcomes[new.run_id] = StartOutcome(other, created=False, repeated=True)
        elif other is not None and other.status in new.refused_after:
            outcomes[new.run_id] = StartOutcome(other, created=False)
    return outcomes


def _find_heard(
    s: Statements, runs: Sequence[NewRun], newest: Mapping[WorkflowId, RunRecord]
) -> Transaction[set[RunId]]:
    """Those whose message was taken by the chain of the newest run of their workflow id."""
    wanted = {
        new.run_id: (other.first_run_id or other.run_id, new.unless_heard)
        for new in runs
        if new.unless_heard is not None and (other := newest.get(new.workflow_id))
    }
    if not wanted:
        return set()
    rows = yield Query(s.history.find_taken_by_chain, s.pairs(sorted(set(wanted.values()))))
    taken = {(row[0], row[1]) for row in rows}
    return {run_id for run_id, message in wanted.items() if message in taken}


def _insert(
    s: Statements, changes: Changes, runs: Sequence[NewRun], started: Started
) -> Transaction[None]:
    """Insert the first run of each workflow id, as far as nothing is in its way."""
    firsts = {run.workflow_id: run for run in reversed(runs)}
    # Who continues a run that is closed here comes before strangers who wait for its id.
    firsts |= {run.workflow_id: run for run in runs if run.continues is not None}
    family = {new.run_id: new for new in _with_starts(firsts.values())}
    states = _first_turns(changes, family)
    keys = yield from _insert_rows(s, changes, states)
    for first in firsts.values():
        _check_family(first, keys, started)
    # Only now, with their ids taken, are those who were before them all to be seen.
    if (yield from _find_refusals(s, [family[run_id] for run_id in keys])):
        raise Overtaken
    inserted = [state for state in states if state.run_id in keys]
    heirs = _find_heirs(changes, (family[state.run_id] for state in inserted))
    for state in inserted:
        state.run_key = keys[state.run_id]
        started.outcomes[state.run_id] = StartOutcome(state.record(), created=True)
        changes.start(state, family[state.run_id])
    started.inserted |= keys.keys()
    yield from _move_inboxes(s, changes, heirs)


def _with_starts(runs: Iterable[NewRun]) -> Iterator[NewRun]:
    """Runs, each followed by those that it starts in its first turn."""
    for new in runs:
        yield new
        yield from _with_starts(new.effects.starts)


def _first_turns(changes: Changes, family: Mapping[RunId, NewRun]) -> list[RunState]:
    """The rows of runs after their first turns, in the order of their workflow ids."""
    states: dict[RunId, RunState] = {}
    for new in family.values():
        state = states[new.run_id] = born(new)
        if new.continues is not None:
            predecessor = states.get(new.continues) or changes.find(new.workflow_id, new.continues)
            if predecessor is None or predecessor.is_open:
                raise StoreError(f"run {new.run_id} continues one that is not closed with it")
            state.continued_from, state.first_run_id = new.continues, predecessor.chain
        state.apply(new.effects, new.owner or "")
        if state.is_open:
            for _ in new.own_messages:
                state.receive(new.effects.recorded_at)
    # A stable sort: whoever continues a run comes after it.
    return sorted(states.values(), key=lambda state: state.workflow_id)


def _insert_rows(
    s: Statements, changes: Changes, states: Sequence[RunState]
) -> Transaction[dict[RunId, RunKey]]:
    """Take workflow ids in their order, those that are given up here included."""
    keys: dict[RunId, RunKey] = {}
    for is_freed, group in groupby(states, key=lambda state: changes.frees(state.workflow_id)):
        batch = list(group)
        if is_freed:
            freed = dict.fromkeys(state.workflow_id for state in batch)
            yield from changes.flush_closings(s, freed)
        yield from _insert_batch(s, batch, keys)
    return keys


def _insert_batch(
    s: Statements, batch: Sequence[RunState], keys: dict[RunId, RunKey]
) -> Transaction[None]:
    # A run that is over already is born open all the same, and so takes its workflow id for a
    # moment, like any other; unless one that continues it takes the id at once.
    continued = {state.continued_from for state in batch}
    brief = {state.run_id for state in batch if not state.is_open} - continued
    rows = [_born_open(state) if state.run_id in brief else state.new_row() for state in batch]
    inserted = yield Many(s.runs.insert, rows, returning=True)
    keys |= {row[0]: row[1] for row in inserted}
    over = [state for state in batch if state.run_id in brief and state.run_id in keys]
    if over:
        turns = [replace(state, run_key=keys[state.run_id]).turn_row() for state in over]
        yield Many(s.runs.save_turn, turns)


def _born_open(state: RunState) -> Row:
    return replace(state, closed_at=None).new_row()


def _check_family(new: NewRun, keys: Mapping[RunId, RunKey], started: Started) -> None:
    """What a run starts is there only with it, and what it was to be continued by must be."""
    for child in new.effects.starts:
        orphaned = child.run_id in keys and new.run_id not in keys
        cut_off = child.continues == new.run_id and new.run_id in keys and child.run_id not in keys
        if orphaned or cut_off:
            raise Overtaken
        _check_family(child, keys, started)


# --- inboxes that move ---------------------------------------------------------------------------


@value(frozen=True, slots=True)
class _Heir:
    """A run that takes over what another has left unread."""

    new: NewRun
    consumed: int
    """The position through which the other had taken messages."""


def _find_heirs(changes: Changes, news: Iterable[NewRun]) -> dict[RunKey, _Heir]:
    """Heirs by the keys of those that they continue."""
    heirs = {}
    for new in news:
        if new.continues is not None:
            left = changes.left_by(new.workflow_id, new.continues)
            if left is not None:
                heirs[left[0]] = _Heir(new, left[1])
    return heirs


def _move_inboxes(
    s: Statements, changes: Changes, heirs: Mapping[RunKey, _Heir]
) -> Transaction[None]:
    if not heirs:
        return
    rows = yield Query(s.history.read_inboxes, {"keys": s.array(sorted(heirs))})
    for row in rows:
        heir, message = heirs[row[0]], inbox_record(row)
        run = changes.find(heir.new.workflow_id, heir.new.run_id)
        own = {message.message_id for message in heir.new.own_messages}
        is_left = message.position > heir.consumed and message.message_id not in own
        if run is not None and run.is_open and is_left and message.may_move:
            changes.deliver(run, message.message_id, message.arrival, run.updated_at)
