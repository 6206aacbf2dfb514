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
from loom.identifiers import RunId
from tests.proof.chains import Chain
from tests.proof.records import Asked, Evidence, Outcome

_OF_ONE_RUN = ("activity:", "start", "state", "carried:")
"""What Loom's own messages begin with that each run of a chain has of its own."""


def no_request_has_two_effects(evidence: Evidence) -> Iterator[str]:
    for runs in evidence.dump.chains().values():
        chain = Chain(runs)
        yield from _messages_came_once(chain)
        yield from _updates_were_done_once(chain)
    yield from _starts_had_one_effect(evidence)
    yield from _refused_had_none(evidence)
    yield from _ids_are_unique(evidence)


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
