"""The runs that are one address, as they follow one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loom.identifiers import MessageId, Micros, RunId, WorkflowId, derived_id
from loom.storage.records import InboxRecord
from tests.proof.records import Evidence, RunDump


@dataclass(frozen=True, slots=True)
class Chain:
    """Oldest first."""

    runs: Sequence[RunDump]

    @property
    def is_open(self) -> bool:
        return any(run.is_open for run in self.runs)

    @property
    def waiting(self) -> Iterator[InboxRecord]:
        """What is to be delivered."""
        return (message for run in self.runs if run.is_open for message in run.inbox)

    def events[T](self, kind: type[T]) -> Iterator[T]:
        for run in self.runs:
            for _, stamped in run.history:
                if isinstance(stamped.event, kind):
                    yield stamped.event


def chains_of(evidence: Evidence) -> dict[RunId, Chain]:
    """The chain of each run."""
    chains = {first: Chain(runs) for first, runs in evidence.dump.chains().items()}
    return {run.key: chains[run.chain] for run in evidence.dump.runs}


def run_of_key(workflow_id: WorkflowId, key: str) -> RunId:
    """The run that a start with such an idempotency key makes."""
    return derived_id("id", workflow_id, key)


def first_asked(evidence: Evidence) -> dict[MessageId, Micros]:
    """When each message was sent for the first time, as far as that is known."""
    first: dict[MessageId, Micros] = {}
    for told in evidence.told:
        if told.message_id is not None and told.asked_at is not None:
            first[told.message_id] = min(told.asked_at, first.get(told.message_id, told.asked_at))
    return first
