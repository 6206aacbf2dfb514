"""Mistakes in what runs do to one another, in how clients end them, and in limits of activities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from loom.engine.deadlines import Deadlines
from loom.engine.updates import Updates
from loom.history.events import (
    CancelSent,
    ChildCancelRequested,
    Event,
    SignalSent,
    WorkflowCancelRequested,
)
from loom.runner import relations, transitions
from loom.runner.endings import Endings
from loom.runner.owned_run import OwnedRun
from loom.runner.retrying import Retries
from loom.storage.memory import MemoryRepository
from loom.storage.records import SendOutcome
from tests.simulation.mutant import Mutant, Wrapped

# --- what is sent --------------------------------------------------------------------------------


def _without(kind: type[Event]) -> Wrapped:
    """Nothing comes of an event of that kind."""

    def mutate(original: Any) -> Any:
        return lambda events, run: original(
            [stamped for stamped in events if not isinstance(stamped.event, kind)], run
        )

    return mutate


def _nobody(original: Any) -> Any:
    return lambda child, run: None


def _abandoned_by_the_next(original: Any) -> Any:
    def successor(asked: Any, run: Any, *given: Any) -> Any:
        return original(asked, replace(run, children=()), *given)

    return successor


def _parent_is_one_run(original: Any) -> Any:
    return lambda events, run, at, chain: original(events, run, at, run.run_id)


def _no_cancel_arrives(original: Any) -> Any:
    def send(self: Any, message: Any, now: int) -> SendOutcome:
        if message.arrival.type == WorkflowCancelRequested.type:
            return SendOutcome.ACCEPTED
        outcome: SendOutcome = original(self, message, now)
        return outcome

    return send


def _gone_with_its_run(original: Any) -> Any:
    def find(self: Any, message: Any) -> Any:
        run = self._find(message.workflow_id, message.run_id)
        return None if run is None else original(self, message)

    return find


# --- what clients ask for ------------------------------------------------------------------------


def _does_nothing(original: Any) -> Any:
    async def ask(self: Any, *given: Any) -> None:
        return

    return ask


def _never(original: Any) -> Any:
    return lambda self, *given: False


def _is_never(original: Any) -> Any:
    return property(lambda self: False)


def _all_are_accepted(original: Any) -> Any:
    return lambda self, request, copied: None


def _no_tags(original: Any) -> Any:
    return lambda decision: {}


def _nothing_is_overdue(original: Any) -> Any:
    return lambda self, waiting: None


_STORE: Final = MemoryRepository

FAMILY_MUTANTS: Final = (
    Mutant("signals to other runs are not sent", relations, "_sent", _without(SignalSent)),
    Mutant("cancels of other runs are not sent", relations, "_sent", _without(CancelSent)),
    Mutant("children are not called off", relations, "_sent", _without(ChildCancelRequested)),
    Mutant("children are not told of their parent's end", relations, "_to_child", _nobody),
    Mutant("the next run has no children", relations, "_successor", _abandoned_by_the_next),
    Mutant("a child knows one run of its parent", transitions, "starts_of", _parent_is_one_run),
    Mutant("cancels are taken, and dropped", _STORE, "_send", _no_cancel_arrives),
    Mutant("a deleted run is no address", _STORE, "_find_recipient", _gone_with_its_run),
    Mutant("to cancel does nothing", Endings, "cancel", _does_nothing),
    Mutant("to terminate does nothing", Endings, "terminate", _does_nothing),
    Mutant(
        "who is cancelled early begins",
        *(Endings, "_is_to_begin", _never),
        Mutant("", OwnedRun, "is_called_off", _is_never),
    ),
    Mutant("to retry does nothing", Retries, "retry", _does_nothing),
    Mutant("no update is refused", Updates, "_refusal", _all_are_accepted),
    Mutant("changed tags are not written", transitions, "_tags", _no_tags),
    Mutant("no activity is overdue", Deadlines, "next_at", _nothing_is_overdue),
)
