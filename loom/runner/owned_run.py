"""A run that this worker owns: what it waits for and what waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from loom.engine.instance import WorkflowInstance
from loom.errors import HistoryError
from loom.history.events import (
    Event,
    Stamped,
    WorkflowCancelRequested,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from loom.history.status import RunStatus
from loom.identifiers import MessageId, Micros, RunKey
from loom.runner.attempts import Attempt
from loom.runner.clock import Alarm, Clock
from loom.runner.group_writer import MAX_BYTES
from loom.runner.local_calls import LocalCalls
from loom.runner.transitions import message_event
from loom.storage.records import InboxRecord, RunRecord, TaskLease, WorkflowTask
from loom.values import value


@value(frozen=True, slots=True)
class Incoming:
    """An arrival that has not been taken yet: a message from the inbox, or an outcome of an
    activity that ran here."""

    event: Event
    message_id: MessageId | None = None
    position: int | None = None
    attempt: Attempt | None = None


@dataclass(slots=True, eq=False)
class OwnedRun:
    """One run under this worker's lease."""

    run: RunRecord
    token: int
    sequence: int
    """The sequence of the last event that is known to be durable."""
    instance: WorkflowInstance | None = None
    arrivals: list[Incoming] = field(default_factory=list)
    in_turn: list[Incoming] = field(default_factory=list)
    """What the turn under way has taken, until it is durable."""
    inbox_seen: int = 0
    local: dict[int, Attempt] = field(default_factory=dict)
    """Its activities that run in this worker, by id."""
    calls: LocalCalls | None = None
    """Its local activities, once it has had any here."""
    busy: bool = False
    """Whether somebody is taking its turns."""
    blocked: bool = False
    """Whether the store has it as BLOCKED, so that its next turn must be written to change that."""
    poison: HistoryError | None = None
    """Why its inbox cannot be read, if it cannot."""
    unstarted: list[TaskLease] = field(default_factory=list)
    """Leases of activities that a turn of unknown outcome would have started."""
    alarm: Alarm | None = None
    """Wakes it for its next timer while it waits for an activity here."""
    owner_lost: bool = False
    """Whether it was taken over from an owner that was lost."""
    next_task: WorkflowTask | None = None
    """A newer claim of the same run, to be served when this ownership has ended."""

    @classmethod
    def claimed(cls, task: WorkflowTask) -> OwnedRun:
        return cls(
            run=task.run,
            token=task.token,
            sequence=task.run.sequence,
            blocked=task.run.status is RunStatus.BLOCKED,
            owner_lost=task.owner_lost,
        )

    @property
    def local_ids(self) -> list[int]:
        """The activities that run in this worker, or have just ended here."""
        if not self.arrivals:
            return list(self.local)
        ended = [i.attempt.activity_id for i in self.arrivals if i.attempt is not None]
        return [*self.local, *ended]

    @property
    def goes_on_here(self) -> bool:
        """Whether something runs in this worker that it waits for."""
        return bool(self.local) or (self.calls is not None and self.calls.are_running)

    @property
    def is_void(self) -> bool:
        """Whether its instance is of no use any more: a query has reached into it."""
        return self.instance is not None and self.instance.is_void

    @property
    def run_key(self) -> RunKey:
        return self.run.run_key

    def receive(self, messages: Sequence[InboxRecord]) -> bool:
        """Take in messages that were not seen before; whether there were any.

        One that cannot be read poisons the run, which nothing but its termination gets past.
        """
        new = [message for message in messages if message.position > self.inbox_seen]
        for message in new:
            self.inbox_seen = message.position
            try:
                event = message_event(message)
            except HistoryError as error:
                self.poison = self.poison or error
            else:
                self.arrivals.append(Incoming(event, message.message_id, message.position))
        return bool(new)

    def has_work(self, clock: Clock) -> bool:
        """Whether a turn would change anything."""
        if self.arrivals or self.blocked:
            return True
        if self.calls is not None and self.calls.have_ended:
            return True
        if self.instance is not None and self.instance.has_local_calls:
            return True
        wake_at = self.instance.wake_at if self.instance is not None else None
        return wake_at is not None and wake_at <= clock.now()

    @property
    def has_outcomes(self) -> bool:
        """Whether activities that ran here have ended, which nobody else knows yet."""
        return any(incoming.attempt is not None for incoming in self.arrivals)

    def take_arrivals(self) -> list[Incoming]:
        assert not self.in_turn, "a turn that was not written has not been let go of"
        count = self._count_for_turn()
        self.in_turn, self.arrivals = self.arrivals[:count], self.arrivals[count:]
        return self.in_turn

    def _count_for_turn(self) -> int:
        """How many of the arrivals are taken at once: what they carry is written in one go."""
        size = 0
        for count, incoming in enumerate(self.arrivals):
            size += len(incoming.event.payload_bytes or b"")
            if size > MAX_BYTES:
                return max(count, 1)
        return len(self.arrivals)

    @property
    def termination(self) -> Incoming | None:
        """What ends the run without its code, if there is such a thing."""
        ends = (WorkflowTerminated, WorkflowTimedOut)
        return next((i for i in self.arrivals if isinstance(i.event, ends)), None)

    @property
    def is_called_off(self) -> bool:
        """Whether it has been cancelled while it waited to begin, so that its code never does."""
        waits = self.sequence == 0 and self.run.start_at is not None
        return waits and any(isinstance(i.event, WorkflowCancelRequested) for i in self.arrivals)

    def end_if_overdue(self, clock: Clock) -> None:
        """A run that cannot be worked with is ended, too, when its time is up."""
        deadline = self.run.deadline
        if (self.blocked or self.poison) and deadline is not None and deadline <= clock.now():
            self.arrivals.append(Incoming(WorkflowTimedOut()))


def consumed_through(incoming: list[Incoming]) -> int | None:
    """The inbox position up to which a turn has taken messages."""
    return max((i.position for i in incoming if i.position is not None), default=None)


def stamped(incoming: list[Incoming], at: Micros) -> list[Stamped]:
    """Arrivals with the moment at which they are taken."""
    return [Stamped(i.event, at, i.message_id) for i in incoming]
