"""What the simulation knows beyond the invariants, since it knows the programs and the clients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loom.history.events import (
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    request_message_id,
    update_message_id,
)
from tests.proof.checker import Invariant, Violation
from tests.proof.records import Asked, Dump, Outcome
from tests.simulation.clients import Player


def in_order(players: Iterable[Player], dump: Dump) -> Iterator[Violation]:
    """What a client says only when the last was acknowledged arrives after that."""
    for player in players:
        said: dict[str, None] = {}
        for told in player.told:
            if told.outcome is Outcome.OK and told.request_id is not None:
                if told.asked is Asked.SIGNAL:
                    said[request_message_id(told.request_id)] = None
                elif told.asked is Asked.UPDATE:
                    said[update_message_id(told.request_id)] = None
        for runs in dump.chains().values():
            came = [e.message_id for run in runs for e in run.events if e.message_id in said]
            if came != [message_id for message_id in said if message_id in came]:
                what = f"{runs[0]} was told {list(said)}, and heard {came}"
                yield Violation(Invariant.ONE_EFFECT, what)


def cancelled_runs_are_cancelled(dump: Dump) -> Iterator[Violation]:
    """No program ignores that it is cancelled."""
    for run in dump.runs:
        asked = [n for n, s in run.history if isinstance(s.event, WorkflowCancelRequested)]
        if asked and isinstance(run.final, WorkflowCompleted | WorkflowContinuedAsNew):
            what = f"{run} was cancelled by event {asked[0]}, and ended as {run.run.status}"
            yield Violation(Invariant.ACKNOWLEDGED_IS_KEPT, what)
