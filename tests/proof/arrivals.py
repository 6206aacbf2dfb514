"""I1 and I2: what was acknowledged is there, and what was asked for twice is there once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loom.history.events import (
    ChildFailed,
    ChildStarted,
    UpdateAccepted,
    UpdateCompleted,
    WorkflowCancelRequested,
    request_message_id,
    update_message_id,
)
from loom.history.payloads import PayloadConverter
from loom.identifiers import MessageId, RunId
from tests.proof.records import NOTHING, Asked, Evidence, Outcome, RunDump, Told

_CONVERTER = PayloadConverter()

_OF_ONE_RUN = ("activity:", "start", "state", "carried:")
"""What Loom's own messages begin with that each run of a chain has of its own."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """The runs that are one address."""

    runs: Sequence[RunDump]

    @property
    def is_open(self) -> bool:
        return any(run.is_open for run in self.runs)

    @property
    def inbox_is_known(self) -> bool:
        return all(run.inbox is not None for run in self.runs if run.is_open)

    def times(self, message_id: MessageId) -> int:
        """How often a message was delivered, or is to be."""
        taken = sum(e.message_id == message_id for run in self.runs for e in run.events)
        return taken + sum((run.inbox or ()).count(message_id) for run in self.runs if run.is_open)

    def may_have_ended_without(self, message_id: MessageId) -> bool:
        return not self.is_open or (not self.inbox_is_known and not self.times(message_id))

    def events[T](self, kind: type[T]) -> Iterator[T]:
        for run in self.runs:
            for _, stamped in run.history:
                if isinstance(stamped.event, kind):
                    yield stamped.event


def _chains(evidence: Evidence) -> dict[RunId, _Chain]:
    """The chain of each run."""
    chains = {first: _Chain(runs) for first, runs in evidence.dump.chains().items()}
    return {run.run.run_id: chains[run.chain] for run in evidence.dump.runs}


# --- I1 ------------------------------------------------------------------------------------------


def nothing_acknowledged_is_lost(evidence: Evidence) -> Iterator[str]:
    chains = _chains(evidence)
    for told in evidence.told:
        if told.outcome is Outcome.OK and not _is_deleted(told, evidence):
            yield from _is_there(told, evidence, chains)
    yield from _children_are_there(evidence, chains)


def _is_deleted(told: Told, evidence: Evidence) -> bool:
    return told.run_id in evidence.deleted


def _is_there(told: Told, evidence: Evidence, chains: Mapping[RunId, _Chain]) -> Iterator[str]:
    what = f"the {told.asked.value} {told.request_id or ''} of {told.workflow_id!r}"
    chain = chains.get(told.run_id) if told.run_id is not None else None
    if chain is None:
        runs = [run for run in evidence.dump.runs if run.run.workflow_id == told.workflow_id]
        if told.run_id is not None or not runs:
            yield f"{what} was acknowledged, and there is no such run ({told.run_id})"
            return
        chain = _Chain(runs)
    match told.asked:
        case Asked.SIGNAL if told.request_id is not None:
            message_id = request_message_id(told.request_id)
            if not chain.times(message_id) and not chain.may_have_ended_without(message_id):
                yield f"{what} was acknowledged, and is nowhere"
        case Asked.UPDATE if told.request_id is not None:
            yield from _update_is_there(what, told, chain)
        case Asked.CANCEL:
            asked = any(chain.events(WorkflowCancelRequested))
            if not asked and chain.is_open and chain.inbox_is_known and not _waiting(chain):
                yield f"{what} was acknowledged, and is nowhere"
        case Asked.TERMINATE:
            if chain.is_open:
                yield f"{what} was acknowledged, and it goes on"
        case _:
            return


def _waiting(chain: _Chain) -> int:
    return sum(len(run.inbox or ()) for run in chain.runs if run.is_open)


def _update_is_there(what: str, told: Told, chain: _Chain) -> Iterator[str]:
    assert told.request_id is not None
    if told.value is NOTHING:
        message_id = update_message_id(told.request_id)
        if not chain.times(message_id) and not chain.may_have_ended_without(message_id):
            yield f"{what} was acknowledged, and is nowhere"
        return
    if not any(e.update_id == told.request_id for e in chain.events(UpdateAccepted)):
        yield f"{what} has returned {told.value!r}, and was never accepted"
    done = [e for e in chain.events(UpdateCompleted) if e.update_id == told.request_id]
    values = [_CONVERTER.decode(e.payload, object) for e in done]
    if values != [told.value]:
        yield f"{what} has returned {told.value!r}, and in history there is {values!r}"


def _children_are_there(evidence: Evidence, chains: Mapping[RunId, _Chain]) -> Iterator[str]:
    """A start that a run has asked for is acknowledged by the turn that asked."""
    for run in evidence.dump.runs:
        events = [stamped.event for _, stamped in run.history]
        refused = {e.child_id for e in events if isinstance(e, ChildFailed) and e.status is None}
        for event in events:
            if not isinstance(event, ChildStarted) or event.run_id in chains:
                continue
            waits_for_refusal = run.is_open and not evidence.is_quiet
            known = event.child_id in refused or event.run_id in evidence.deleted
            if not known and not waits_for_refusal and run.is_open:
                yield f"{run} has started the child {event.workflow_id!r}, which is nowhere"


# --- I2 ------------------------------------------------------------------------------------------


def no_request_has_two_effects(evidence: Evidence) -> Iterator[str]:
    for runs in evidence.dump.chains().values():
        chain = _Chain(runs)
        yield from _messages_came_once(chain)
        yield from _updates_were_done_once(chain)
    yield from _starts_had_one_effect(evidence)
    yield from _refused_had_none(evidence)
    yield from _ids_are_unique(evidence)


def _messages_came_once(chain: _Chain) -> Iterator[str]:
    """An activity's outcome is known by its run alone; anything else by the whole chain."""
    delivered: Counter[str] = Counter()
    for run in chain.runs:
        own = [e.message_id for e in run.events if e.message_id is not None]
        own += (run.inbox or ()) if run.is_open else ()
        for message_id in own:
            is_own = message_id.startswith(_OF_ONE_RUN)
            delivered[f"{run.key} {message_id}" if is_own else message_id] += 1
    for message_id, times in delivered.items():
        if times > 1:
            yield f"message {message_id} came {times} times to the chain of {chain.runs[0]}"


def _updates_were_done_once(chain: _Chain) -> Iterator[str]:
    for kind in (UpdateAccepted, UpdateCompleted):
        times = Counter(event.update_id for event in chain.events(kind))
        for update_id, count in times.items():
            if count > 1:
                yield f"update {update_id} has {count} {kind.type} in the chain of {chain.runs[0]}"


def _starts_had_one_effect(evidence: Evidence) -> Iterator[str]:
    told: dict[tuple[str, str], set[RunId | None]] = {}
    for one in evidence.told:
        if one.asked is Asked.START and one.outcome is Outcome.OK and one.request_id is not None:
            told.setdefault((one.workflow_id, one.request_id), set()).add(one.run_id)
    for (workflow_id, request_id), runs in told.items():
        if len(runs) > 1:
            yield f"the start {request_id} of {workflow_id!r} was told of {len(runs)} runs"


def _refused_had_none(evidence: Evidence) -> Iterator[str]:
    outcomes: dict[tuple[Asked, str], set[Outcome]] = {}
    for one in evidence.told:
        if one.request_id is not None and one.asked in (Asked.SIGNAL, Asked.UPDATE):
            outcomes.setdefault((one.asked, one.request_id), set()).add(one.outcome)
    refused = {
        request_message_id(id_) if asked is Asked.SIGNAL else update_message_id(id_)
        for (asked, id_), all_ in outcomes.items()
        if all_ == {Outcome.FAILED}
    }
    for run in evidence.dump.runs:
        for event in run.events:
            if event.message_id in refused:
                yield f"{event.message_id} was refused, and is event {event.sequence} of {run}"


def _ids_are_unique(evidence: Evidence) -> Iterator[str]:
    run_ids = Counter(run.run.run_id for run in evidence.dump.runs)
    yield from (f"there are {n} runs {id_}" for id_, n in run_ids.items() if n > 1)
    open_ids = Counter(run.run.workflow_id for run in evidence.dump.runs if run.is_open)
    yield from (f"{n} open runs have the id {id_!r}" for id_, n in open_ids.items() if n > 1)
