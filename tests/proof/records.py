"""The three records by which a checker decides whether Loom kept its promises.

What the clients were told, what activities did to the world, and what the store holds in the end.
None of them is written by what is being tested: a client notes what it was told, an activity tells
a ledger of its own, and the dump is read when all is over (or now and then, to see that nothing
changes which may not).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from loom.errors import (
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowTerminatedError,
    WorkflowTimedOutError,
)
from loom.history.events import (
    FINAL_STATUS,
    Event,
    Stamped,
    WorkflowStarted,
    continued_by,
    request_message_id,
    update_message_id,
)
from loom.history.status import RunStatus
from loom.identifiers import (
    MICROS_PER_SECOND,
    MessageId,
    Micros,
    RunId,
    RunKey,
    WorkerId,
    WorkflowId,
)
from loom.runner.transitions import stamped_event
from loom.storage.records import EventRecord, InboxRecord, PendingTask, RunRecord

# --- what clients were told ----------------------------------------------------------------------


class Asked(Enum):
    """What a client asked for."""

    START = "start"
    SIGNAL = "signal"
    UPDATE = "update"
    CANCEL = "cancel"
    TERMINATE = "terminate"
    RESULT = "result"


class Outcome(Enum):
    """What a client was told."""

    OK = "ok"
    FAILED = "failed"
    """It was refused, and so may have had no effect."""
    UNKNOWN = "unknown"
    """The answer was lost, or the client has died: it may have had its effect, or may have it."""


class _Nothing(Enum):
    NOTHING = "nothing"


NOTHING: Final = _Nothing.NOTHING
"""Where there was no answer that could be compared with anything."""


@dataclass(frozen=True, slots=True)
class Told:
    """One call of a client. A call that is repeated with the same request id is told of twice."""

    asked: Asked
    outcome: Outcome
    workflow_id: WorkflowId
    run_id: RunId | None = None
    """The run that it was for; of a start the one that it was told of."""
    request_id: str | None = None
    """By which a repeated call is known: of a start its idempotency key."""
    value: Any = NOTHING
    """What an update or a run returned, as its client read it."""
    status: RunStatus | None = None
    """Of a run that has not returned, how it ended."""
    asked_at: Micros | None = None
    """By the store's clock or near it, where that is known. All clients of a trial go by one
    clock."""
    answered_at: Micros | None = None

    @property
    def message_id(self) -> MessageId | None:
        """By which a signal or an update is known in inboxes and histories, if it has an id."""
        if self.request_id is None or self.asked not in _AS_MESSAGE:
            return None
        return _AS_MESSAGE[self.asked](self.request_id)


_AS_MESSAGE: Final = {Asked.SIGNAL: request_message_id, Asked.UPDATE: update_message_id}


def told_by(error: Exception) -> RunStatus | None:
    """How a run has ended whose result is such an error."""
    return next((status for kind, status in _ENDINGS.items() if isinstance(error, kind)), None)


_ENDINGS: Final[dict[type[Exception], RunStatus]] = {
    WorkflowFailedError: RunStatus.FAILED,
    WorkflowCancelledError: RunStatus.CANCELLED,
    WorkflowTerminatedError: RunStatus.TERMINATED,
    WorkflowTimedOutError: RunStatus.TIMED_OUT,
}

# --- what activities did -------------------------------------------------------------------------

RAISED: Final = "raised"
"""What an execution is noted with that ended in an error."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of an activity that came to its end."""

    activity_key: str
    """As in ``activity_info().activity_key``: the run id, a slash, the activity's id."""
    attempt: int
    returned: Any = NOTHING
    """The result, ``RAISED``, or ``NOTHING`` when the ledger does not know."""


# --- what the store holds ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunDump:
    """One run with all that belongs to it."""

    run: RunRecord
    events: tuple[EventRecord, ...]
    tasks: tuple[PendingTask, ...] = ()
    inbox: tuple[InboxRecord, ...] = ()
    """The messages that wait there."""
    history: tuple[tuple[int, Stamped], ...] = field(init=False)
    """Its events as they can be read, each with its sequence."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "history", tuple(map(stamped_event, self.events)))

    @property
    def key(self) -> RunId:
        return self.run.run_id

    @property
    def chain(self) -> RunId:
        """The first run of its chain."""
        return self.run.first_run_id or self.run.run_id

    @property
    def is_open(self) -> bool:
        return self.run.status.is_open

    @property
    def final(self) -> Event | None:
        """What ended it."""
        last = self.history[-1][1].event if self.history else None
        return last if type(last) in FINAL_STATUS else None

    @property
    def next_run_id(self) -> RunId | None:
        """The run that continues it, if one does."""
        final = self.final
        return None if final is None else continued_by(final)

    @property
    def started(self) -> WorkflowStarted | None:
        first = self.history[0][1].event if self.history else None
        return first if isinstance(first, WorkflowStarted) else None

    def __str__(self) -> str:
        return f"run {self.run.run_id[:8]} of {self.run.workflow_id!r}"


@dataclass(frozen=True, slots=True)
class Dump:
    """Everything that a store holds, at one moment."""

    runs: tuple[RunDump, ...]
    at: Micros

    def by_run_id(self) -> dict[RunId, RunDump]:
        return {run.run.run_id: run for run in self.runs}

    def chains(self) -> dict[RunId, list[RunDump]]:
        """The runs of each chain, oldest first, by the first of them."""
        chains: dict[RunId, list[RunDump]] = {}
        for run in sorted(self.runs, key=lambda run: run.run.run_key):
            chains.setdefault(run.chain, []).append(run)
        return chains


# --- what was written, where somebody stood between the workers and the store --------------------


@dataclass(frozen=True, slots=True)
class Commit:
    """One transition that the store said it had written; in the order in which it was."""

    run_key: RunKey
    token: int
    owner: WorkerId | None
    expected_sequence: int
    events: int
    """How many."""
    claimed: int | None = None
    """The newest token that anybody had been given, where that was seen."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the checker is given."""

    dump: Dump
    told: Sequence[Told] = ()
    ledger: Sequence[Execution] | None = None
    """``None`` when there is no ledger."""
    earlier: Sequence[Dump] = ()
    """Dumps that were taken before, oldest first."""
    commits: Sequence[Commit] = ()
    is_quiet: bool = True
    """Whether faults have stopped for long enough that everything should have ended."""
    poisoned: frozenset[WorkflowId] = frozenset()
    """Workflow ids of runs that no worker can get on with."""
    deleted: frozenset[RunId] = frozenset()
    """Runs that were deleted on purpose."""
    may_stay_open: frozenset[WorkflowId] = frozenset()
    """Workflow ids of runs that wait for something that was never sent to them."""
    left: Mapping[RunKey, Sequence[InboxRecord]] | None = None
    """What each run that has closed had not taken from its inbox, and nobody else was given;
    ``None`` where nobody saw that."""
    slack: Micros = 20 * MICROS_PER_SECOND
    """How much later by its stamps a run may close that has not seen what a client knows to be in
    its inbox: their clocks differ, and whoever owns a run looks into its inbox now and then."""
