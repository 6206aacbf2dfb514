"""I2: what was asked for twice is there once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from loom.history.events import (
    UpdateAccepted,
    UpdateCompleted,
    request_message_id,
    update_message_id,
)
from loom.identifiers import MessageId, RunId, WorkflowId
from tests.proof.chains import Chain, first_asked, run_of_key
from tests.proof.records import Asked, Evidence, Outcome

_OF_ONE_RUN = ("activity:", "start", "state", "carried:")
"""What Loom's own messages begin with that each run of a chain has of its own."""
_OF_CLIENTS = (request_message_id(""), update_message_id(""))
"""What the messages begin with that clients have named."""


def no_request_has_two_effects(evidence: Evidence) -> Iterator[str]:
    for runs in evidence.dump.chains().values():
        chain = Chain(runs)
        yield from _messages_came_once(chain)
        yield from _updates_were_done_once(chain)
    yield from _messages_came_in_order(evidence)
    yield from _nothing_went_astray(evidence)
    yield from _starts_had_one_effect(evidence)
    yield from _every_run_was_asked_for(evidence)
    yield from _refused_had_none(evidence)
    yield from _ids_are_unique(evidence)
    yield from _chains_do_not_fork(evidence)


def _messages_came_once(chain: Chain) -> Iterator[str]:
    """An activity's outcome is known by its run alone; anything else by the whole chain."""
    delivered: Counter[str] = Counter()
    for run in chain.runs:
        own = [e.message_id for e in run.events if e.message_id is not None]
        own += [message.message_id for message in run.inbox]
        for message_id in own:
            is_own = message_id.startswith(_OF_ONE_RUN)
            delivered[f"{run.key} {message_id}" if is_own else message_id] += 1
    for message_id, times in delivered.items():
        if times > 1:
            yield f"message {message_id} came {times} times to the chain of {chain.runs[0]}"


def _messages_came_in_order(evidence: Evidence) -> Iterator[str]:
    """What is said only when something else has been acknowledged arrives after that."""
    asked_at = first_asked(evidence)
    answered_at = {
        told.message_id: told.answered_at
        for told in evidence.told
        if told.outcome is Outcome.OK and told.answered_at is not None
    }
    for runs in evidence.dump.chains().values():
        latest = 0
        for message_id in (e.message_id for run in runs for e in run.events):
            if message_id is not None and message_id in asked_at:
                if answered_at.get(message_id, latest) < latest:
                    yield f"{message_id} came to {runs[0]} after what was said later"
                latest = max(latest, asked_at[message_id])


def _nothing_went_astray(evidence: Evidence) -> Iterator[str]:
    """What is said once to a run reaches that run or those that continue it, and no other."""
    heard: dict[MessageId, set[tuple[WorkflowId, RunId]]] = {}
    for run in evidence.dump.runs:
        for message_id in (one.message_id for one in (*run.events, *run.inbox)):
            if message_id is not None and message_id.startswith(_OF_CLIENTS):
                heard.setdefault(message_id, set()).add((run.run.workflow_id, run.chain))
    meant = _addressees(evidence)
    for message_id, addresses in heard.items():
        ids = Counter(workflow_id for workflow_id, _ in addresses)
        yield from (
            f"{message_id} came to {n} chains of {id_!r}" for id_, n in ids.items() if n > 1
        )
        for workflow_id, chain in addresses if message_id in meant else ():
            chains = meant[message_id].get(workflow_id)
            if chains is None or (chains and chain not in chains):
                yield f"{message_id} was not for {chain} of {workflow_id!r}, and came to it"


def _addressees(evidence: Evidence) -> dict[MessageId, dict[WorkflowId, set[RunId]]]:
    """To which workflow ids each message was sent, and to which of their chains, where that is
    known."""
    chain_of = {run.key: run.chain for run in evidence.dump.runs}
    meant: dict[MessageId, dict[WorkflowId, set[RunId]]] = {}
    for told in evidence.told:
        if told.message_id is not None:
            chains = meant.setdefault(told.message_id, {}).setdefault(told.workflow_id, set())
            chains.update({chain_of[told.run_id]} if told.run_id in chain_of else ())
    return meant


def _updates_were_done_once(chain: Chain) -> Iterator[str]:
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


def _every_run_was_asked_for(evidence: Evidence) -> Iterator[str]:
    """Of an id that was always started by a key: no run that has none of those keys."""
    starts: dict[WorkflowId, set[str | None]] = {}
    for one in evidence.told:
        if one.asked is Asked.START:
            starts.setdefault(one.workflow_id, set()).add(one.request_id)
    known = {one.run_id for one in evidence.told}
    for run in evidence.dump.runs:
        keys = starts.get(run.run.workflow_id, {None})
        is_first = run.run.continued_from is None and run.chain == run.key
        if None in keys or not is_first or run.key in known:
            continue
        if run.key not in {run_of_key(run.run.workflow_id, str(key)) for key in keys}:
            yield f"{run} was started by nobody: there were only starts with {keys}"


def _chains_do_not_fork(evidence: Evidence) -> Iterator[str]:
    followers = Counter(run.run.continued_from for run in evidence.dump.runs)
    for run in evidence.dump.runs:
        if followers[run.key] > 1:
            yield f"{run} is continued by {followers[run.key]} runs"


def _refused_had_none(evidence: Evidence) -> Iterator[str]:
    outcomes: dict[MessageId, set[Outcome]] = {}
    for told in evidence.told:
        if told.message_id is not None:
            outcomes.setdefault(told.message_id, set()).add(told.outcome)
    for run in evidence.dump.runs:
        for event in run.events:
            if event.message_id and outcomes.get(event.message_id) == {Outcome.FAILED}:
                yield f"{event.message_id} was refused, and is event {event.sequence} of {run}"


def _ids_are_unique(evidence: Evidence) -> Iterator[str]:
    run_ids = Counter(run.run.run_id for run in evidence.dump.runs)
    yield from (f"there are {n} runs {id_}" for id_, n in run_ids.items() if n > 1)
    open_ids = Counter(run.run.workflow_id for run in evidence.dump.runs if run.is_open)
    yield from (f"{n} open runs have the id {id_!r}" for id_, n in open_ids.items() if n > 1)
