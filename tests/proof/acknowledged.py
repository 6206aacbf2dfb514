"""I1: what was acknowledged is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from loom.history.events import (
    ChildFailed,
    ChildStarted,
    UpdateAccepted,
    UpdateCompleted,
    WorkflowCancelRequested,
    WorkflowTerminated,
)
from loom.history.payloads import PayloadConverter
from loom.identifiers import MessageId, RunId
from loom.storage.records import InboxRecord
from tests.proof.chains import Chain, chains_of, first_asked, run_of_key
from tests.proof.records import NOTHING, Asked, Evidence, Outcome, RunDump, Told

_CONVERTER = PayloadConverter()


def nothing_acknowledged_is_lost(evidence: Evidence) -> Iterator[str]:
    chains = chains_of(evidence)
    for told in evidence.told:
        if told.outcome is Outcome.OK and told.run_id not in evidence.deleted:
            yield from _is_kept(told, evidence, chains)
    yield from _children_are_there(evidence, chains)


def _is_kept(told: Told, evidence: Evidence, chains: Mapping[RunId, Chain]) -> Iterator[str]:
    what = f"the {told.asked.value} {told.request_id or ''} of {told.workflow_id!r}"
    chain = _chain_of(told, evidence, chains)
    if chain is None:
        yield f"{what} was acknowledged, and there is no such run ({told.run_id})"
    elif told.asked is Asked.START:
        yield from _was_there_to_be_told_of(what, told, evidence)
    elif told.asked is Asked.UPDATE and told.value is not NOTHING:
        yield from _update_is_there(what, told, chain)
    elif _is_message(told) and _is_lost(told, chain, evidence):
        yield f"{what} was acknowledged, and is nowhere"
    if chain is not None and told.asked is Asked.TERMINATE:
        yield from _has_ended_by_then(what, told, chain, evidence)


def _chain_of(told: Told, evidence: Evidence, chains: Mapping[RunId, Chain]) -> Chain | None:
    """The runs that it was for: of its workflow id, all of them."""
    run_id = told.run_id
    if run_id is None and told.asked is Asked.START and told.request_id is not None:
        run_id = run_of_key(told.workflow_id, told.request_id)
    if run_id is not None:
        return chains.get(run_id)
    runs = [run for run in evidence.dump.runs if run.run.workflow_id == told.workflow_id]
    return Chain(runs) if runs else None


# --- starts --------------------------------------------------------------------------------------


def _was_there_to_be_told_of(what: str, told: Told, evidence: Evidence) -> Iterator[str]:
    """A start is told of the run that it makes, or of the one that was open."""
    if told.run_id is None or told.request_id is None:
        return
    if told.run_id in (told.workflow_id, run_of_key(told.workflow_id, told.request_id)):
        return
    if told.asked_at is None or told.answered_at is None:
        return
    run = evidence.dump.by_run_id()[told.run_id]
    ended_at = run.run.closed_at
    is_later = run.run.created_at > told.answered_at + evidence.slack
    if is_later or (ended_at is not None and ended_at < told.asked_at - evidence.slack):
        yield f"{what} was told of {run}, which was not open then"


# --- messages ------------------------------------------------------------------------------------


def _is_message(told: Told) -> bool:
    """Whether it is one that would be known again."""
    return told.message_id is not None or told.asked in (Asked.CANCEL, Asked.TERMINATE)


def _is_it(told: Told, kind: str, message_id: MessageId | None) -> bool:
    """Whether that event, or that message, is what a client has asked for."""
    match told.asked:
        case Asked.CANCEL:
            return kind == WorkflowCancelRequested.type
        case Asked.TERMINATE:
            return kind == WorkflowTerminated.type
        case _:
            return message_id == told.message_id


def _is_among(told: Told, messages: Iterable[InboxRecord]) -> bool:
    return any(_is_it(told, one.arrival.type, one.message_id) for one in messages)


def _was_heard(told: Told, chain: Chain) -> bool:
    return any(_is_it(told, e.type, e.message_id) for run in chain.runs for e in run.events)


def _is_lost(told: Told, chain: Chain, evidence: Evidence) -> bool:
    if _was_heard(told, chain) or _is_among(told, chain.waiting):
        return False
    return chain.is_open or not _may_have_come_too_late(told, chain, evidence)


def _may_have_come_too_late(told: Told, chain: Chain, evidence: Evidence) -> bool:
    """Whether its run, which was open, may have closed without having seen it."""
    if evidence.left is not None:
        return any(_is_among(told, evidence.left.get(run.run.run_key, ())) for run in chain.runs)
    if told.answered_at is None:
        return True
    closed_at = max(run.run.closed_at or 0 for run in chain.runs)
    is_late = closed_at <= told.answered_at + evidence.slack
    return is_late and not _was_overtaken(told, chain, evidence)


def _was_overtaken(told: Told, chain: Chain, evidence: Evidence) -> bool:
    """Whether the chain has heard what was sent later: an inbox is emptied in order.

    Updates are left out: one that was rejected leaves no trace.
    """
    is_one_chain = len({run.chain for run in chain.runs}) == 1
    if told.asked is Asked.UPDATE or told.answered_at is None or not is_one_chain:
        return False
    heard = {event.message_id for run in chain.runs for event in run.events}
    asked_at = first_asked(evidence)
    return any(asked_at[one] > told.answered_at for one in heard & asked_at.keys())


def _has_ended_by_then(what: str, told: Told, chain: Chain, evidence: Evidence) -> Iterator[str]:
    if chain.is_open:
        yield f"{what} was acknowledged, and it goes on"
        return
    closed_at = max(run.run.closed_at or 0 for run in chain.runs)
    if told.answered_at is not None and closed_at > told.answered_at + evidence.slack:
        yield f"{what} was acknowledged, and it went on until {closed_at}"


def _update_is_there(what: str, told: Told, chain: Chain) -> Iterator[str]:
    if not any(e.update_id == told.request_id for e in chain.events(UpdateAccepted)):
        yield f"{what} has returned {told.value!r}, and was never accepted"
    done = [e for e in chain.events(UpdateCompleted) if e.update_id == told.request_id]
    values = [_CONVERTER.decode(e.payload, object) for e in done]
    if values != [told.value]:
        yield f"{what} has returned {told.value!r}, and in history there is {values!r}"


# --- children ------------------------------------------------------------------------------------


def _children_are_there(evidence: Evidence, chains: Mapping[RunId, Chain]) -> Iterator[str]:
    """A start that a run has asked for is acknowledged by the turn that asked."""
    for run in evidence.dump.runs:
        refused = {
            stamped.event.child_id
            for _, stamped in run.history
            if isinstance(stamped.event, ChildFailed) and stamped.event.status is None
        }
        for _, stamped in run.history:
            event = stamped.event
            if not isinstance(event, ChildStarted) or event.run_id in chains:
                continue
            if event.child_id in refused or event.run_id in evidence.deleted:
                continue
            if not _may_be_refused(run, event, evidence):
                yield f"{run} has started the child {event.workflow_id!r}, which is nowhere"


def _may_be_refused(parent: RunDump, child: ChildStarted, evidence: Evidence) -> bool:
    """Whether another run had its id, of which its parent has not heard, or no more."""
    if parent.is_open:
        return any(one.message_id == f"child:{child.run_id}" for one in parent.inbox)
    return any(run.run.workflow_id == child.workflow_id for run in evidence.dump.runs)
