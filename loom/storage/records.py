"""The plain rows that cross the port: what a store is given and what it gives back.

Nothing here is interpreted by a store. ``attributes`` and ``payload`` are opaque bytes, event and
message types are opaque names, and every time is an argument in microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from enum import Enum

from loom.history.records import EventRecord as EventRecord
from loom.history.status import RunStatus
from loom.identifiers import MessageId, Micros, RunId, RunKey, WorkerId, WorkflowId
from loom.values import value

# --- history -------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class LogRecord:
    """One line logged by workflow code. ``position`` counts from 1 within the run."""

    position: int
    logged_at: Micros
    level: str
    message: str


# --- runs ----------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class RunRecord:
    """A run as the store knows it."""

    run_key: RunKey
    workflow_id: WorkflowId
    run_id: RunId
    name: str
    version: str
    queue: str
    status: RunStatus
    sequence: int
    """The sequence of its last event."""
    created_at: Micros
    updated_at: Micros
    """When its last transition was recorded."""
    closed_at: Micros | None = None
    wake_at: Micros | None = None
    """When its next timer is due."""
    blocked_reason: str | None = None
    lease_owner: WorkerId | None = None
    lease_expires_at: Micros | None = None
    due_at: Micros | None = None
    """When any worker may take it: a leased run when its lease ends, another as soon as something
    is wanted of it; ``None`` when nothing is."""
    continued_from: RunId | None = None
    """The run before it in its chain; ``None`` when it continues none."""
    first_run_id: RunId | None = None
    """The run that its chain began with; ``None`` when it is that run."""
    start_at: Micros | None = None
    """Before when no message made it due, if it was to begin later than it was created."""
    deadline: Micros | None = None
    """When its owner is to end it, if it is still open then. Nothing that a store acts on."""
    lost_owners: int = 0
    """How many owners in a row were lost with it: others took it over when their leases had run
    out, and none has since given it back, or written a turn that left it other than BLOCKED."""


@value(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; ``None`` means any. Newest first.

    Moments are bounds from (inclusive) and before (exclusive), so that spans can be put end to
    end. A run that is open matches no bound of ``closed_at``.
    """

    status: RunStatus | None = None
    is_open: bool | None = None
    name: str | None = None
    workflow_id: WorkflowId | None = None
    limit: int = 100
    before: RunKey | None = None
    """The ``run_key`` of the last run of the previous page."""
    version: str | None = None
    queue: str | None = None
    workflow_id_prefix: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """What the run's tags of these names must be, all of them."""
    created_from: Micros | None = None
    created_before: Micros | None = None
    closed_from: Micros | None = None
    closed_before: Micros | None = None


@value(frozen=True, slots=True)
class Labels:
    """What a run carries for those who look for it; none of it means anything to a store."""

    tags: Mapping[str, str] = field(default_factory=dict)
    memo: bytes | None = None


# --- messages ------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class Arrival:
    """An event that has not been taken into history yet: it has no sequence and no time."""

    type: str
    schema_version: int
    attributes: bytes
    payload: bytes | None = None


@value(frozen=True, slots=True)
class Message:
    """Something for a run from outside. Delivered to it once, however often it is sent.

    Addressed to that workflow's run ``run_id``, or, when that is ``None``, to its open run. What
    is for a run that others have continued reaches the open run of its chain, also when that run
    began the chain and has been deleted. Only once, too: what one run of a chain has taken is
    delivered to none of the later ones.

    One that is ``urgent`` makes a run due although its ``start_at`` is still to come: what ends it
    shall not wait for that. When the run is given back without having taken it, it waits all the
    same.
    """

    workflow_id: WorkflowId
    message_id: MessageId
    arrival: Arrival
    run_id: RunId | None = None
    urgent: bool = False


class SendOutcome(Enum):
    """What became of a message."""

    ACCEPTED = "accepted"
    """It is in the inbox, or was before: it will be, or has been, delivered once."""
    CLOSED = "closed"
    """The run has ended without taking it."""
    NOT_FOUND = "not found"


@value(frozen=True, slots=True)
class InboxRecord:
    """A message waiting in a run's inbox. ``position`` counts from 1 in order of delivery, without
    gaps. A completed activity's ``message_id`` is ``activity:`` and its id, so that no sender may
    begin one like that."""

    position: int
    message_id: MessageId
    arrival: Arrival

    @property
    def may_move(self) -> bool:
        """Whether the run that continues this one wants it: an activity is its own run's affair,
        and its id another activity's there."""
        return not self.message_id.startswith("activity:")


@value(frozen=True, slots=True)
class Answer:
    """What became of a message, for its sender: kept with the run for as long as the run is."""

    message_id: MessageId
    content: Arrival


# --- turns of a run ------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class NewTask:
    """An activity to be run. Its input is the event at ``sequence`` of the same run."""

    activity_id: int
    sequence: int
    name: str
    queue: str
    available_at: Micros
    leased: bool = False
    """Whether the worker that writes it starts it itself, as attempt 1 with token 1, under the
    lease that ``Effects.task_lease_expires_at`` gives."""
    start_by: Micros | None = None
    """Nobody claims it from then on who would be the first to; one that is born leased has been
    claimed. What becomes of it then is its run's business."""


@value(frozen=True, slots=True)
class Effects:
    """Everything that one turn of a run changes; written whole or not at all.

    A turn that closes the run (``status`` is final) also drops its tasks, inbox and lease. A run
    left BLOCKED is due at ``wake_at`` and not before, whatever waits in its inbox or arrives there:
    only other code can help it, and a claim loop must not spin on it.
    """

    status: RunStatus
    recorded_at: Micros
    events: Sequence[EventRecord] = ()
    """Appended in order, the first at the run's sequence + 1."""
    tasks: Sequence[NewTask] = ()
    finished_tasks: Sequence[int] = ()
    """Activity ids whose tasks go: completed in this turn, or no longer wanted."""
    starts: Sequence[NewRun] = ()
    """Runs to start, each as ``start_runs`` would. When this turn closes the run, its workflow id
    is free for them."""
    messages: Sequence[Message] = ()
    """To other runs, those just started included. One that finds no open run is dropped."""
    answers: Sequence[Answer] = ()
    """To the senders of messages that the run has taken. The first answer to each is kept."""
    logs: Sequence[LogRecord] = ()
    tags: Mapping[str, str | None] = field(default_factory=dict)
    """Tags of the run that get these values; ``None`` takes one away."""
    wake_at: Micros | None = None
    """When the next timer is due; ``None`` when none is running."""
    blocked_reason: str | None = None
    lease_expires_at: Micros | None = None
    """Until when the writer keeps the run; ``None`` gives it back."""
    task_lease_expires_at: Micros | None = None


@value(frozen=True, slots=True)
class Transition:
    """One turn of an owned run, fenced by its lease token and by its expected sequence."""

    run_key: RunKey
    token: int
    expected_sequence: int
    effects: Effects
    consumed_through: int | None = None
    """The inbox position up to which messages were taken; ``None`` when none was."""
    owner: WorkerId = ""
    """Who writes it, and keeps what it keeps; where that is not said, whoever has the lease."""


class WriteOutcome(Enum):
    """What became of a transition."""

    WRITTEN = "written"
    LOST = "lost"
    """The token or the sequence did not match: somebody else owns the run. Nothing was written."""


@value(frozen=True, slots=True)
class NewRun:
    """A run to be started, with what its first turn did when the starter ran it at once.

    With an owner it is born with token 1, and leased to that owner if its effects keep the run.
    Without one nobody has taken a turn of it: its effects hold a message to the run itself, which
    is the first in its inbox.
    """

    workflow_id: WorkflowId
    run_id: RunId
    name: str
    version: str
    queue: str
    effects: Effects
    owner: WorkerId | None = None
    memo: bytes | None = None
    """Kept beside the run as it is, for those who look at it."""
    start_at: Micros | None = None
    """No message makes it due before."""
    deadline: Micros | None = None
    """When its owner is to end it; kept as it is."""
    refused_after: Collection[RunStatus] = ()
    """It is not started when the newest run of its workflow id has ended in one of these."""
    unless_heard: MessageId | None = None
    """It is not started when the newest run of its workflow id, or another of that run's chain, has
    taken this message: it was started before, or found what it was to be told to."""
    on_conflict: Sequence[Message] = ()
    """Sent instead, when an open run has the workflow id: to that run, or to whoever wants to know
    of it."""
    continues: RunId | None = None
    """The run of the same workflow id that it continues, and which the same turn closes: it joins
    that run's chain, and what that run left in its inbox comes after its own messages, save for
    those of the same ids and outcomes of that run's activities."""

    @property
    def own_messages(self) -> Sequence[Message]:
        """What its inbox begins with, each message once."""
        own = (m for m in self.effects.messages if m.workflow_id == self.workflow_id)
        mine = (m for m in own if m.run_id in (None, self.run_id))
        return tuple({message.message_id: message for message in mine}.values())


@value(frozen=True, slots=True)
class StartOutcome:
    """``created`` is whether this very run was written (now, or by an earlier start of the same
    run id); otherwise ``run`` is what it was not started for: the open run that already has the
    workflow id, or the newest one, after whose end it is refused."""

    run: RunRecord
    created: bool
    repeated: bool = False
    """Whether the run was there already: written by an earlier start, be it of the same batch. When
    it was not created all the same, it is one that has heard what the start was to tell it."""


# --- claims --------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class WorkflowClaim:
    """Which runs a worker can take a turn of.

    A run is claimable when its timer or a message is due and nobody holds a valid lease on it, or
    when the claimer itself holds it and messages have come since it was last claimed. Messages
    that it leaves unconsumed are due to it again after a turn that keeps the run, or else when
    the lease of the claim that brought them would have run out, extended or not: a holder at work
    is not given them over and over, and one that never heard of them is in time. A BLOCKED run
    that nobody holds is also claimable when it was blocked before ``blocked_before``.

    A run with ``lost_owners`` may be what they were lost of. A claim takes one of these at the
    most, that which was started first, and none unless it asks for ``suspects``; that they were
    blocked before some moment makes none of them claimable.
    """

    owner: WorkerId
    queue: str
    definitions: Sequence[tuple[str, str]]
    """(workflow name, version) pairs that the worker has the code of."""
    now: Micros
    lease_expires_at: Micros
    limit: int
    blocked_before: Micros = 0
    suspects: bool = True
    run_key: RunKey | None = None
    """Claim this one run alone, due or not, whatever its queue and definition, if it is open and
    nobody else holds a valid lease on it."""


@value(frozen=True, slots=True)
class WorkflowTask:
    """A claimed run with its whole inbox, in order.

    A fresh claim has grown the token. A run that the claimer held already keeps its token, also
    when its lease had run out meanwhile.
    """

    run: RunRecord
    token: int
    messages: Sequence[InboxRecord] = ()
    owner_lost: bool = False
    """Whether somebody else's lease on it had run out, which ``lost_owners`` counts now."""


@value(frozen=True, slots=True)
class WorkflowTasks:
    tasks: Sequence[WorkflowTask]
    next_due_at: Micros | None = None
    """A hint: when the next run that the claim would match is due, if that is known."""


@value(frozen=True, slots=True)
class ActivityClaim:
    """Which activity tasks a worker can run."""

    owner: WorkerId
    queue: str
    names: Sequence[str]
    now: Micros
    lease_expires_at: Micros
    limit: int


@value(frozen=True, slots=True)
class ActivityTask:
    """A claimed activity task; each claim grows ``token``, and ``attempt`` too unless the one
    before was parked: then it is that one's end which is claimed."""

    run_key: RunKey
    workflow_id: WorkflowId
    run_id: RunId
    activity_id: int
    attempt: int
    failures: int
    """How many of the earlier attempts ended in an error; the others were lost with their
    worker."""
    token: int
    scheduled: EventRecord
    """The event that asked for it."""
    last_failure: bytes | None = None
    details: bytes | None = None
    """What the last heartbeat brought that brought any."""
    parked_until: Micros | None = None
    """Where the attempt stood that nobody held: see ``ActivityCompletion``."""


@value(frozen=True, slots=True)
class ActivityTasks:
    tasks: Sequence[ActivityTask]
    next_due_at: Micros | None = None


@value(frozen=True, slots=True)
class ActivityCompletion:
    """The end of one attempt, fenced by the task's token.

    With an ``arrival`` the task is over and the arrival goes to the run's inbox. Without one the
    attempt failed, and the task may be claimed again from ``retry_at``.

    With ``parked_until`` the attempt has not failed: it goes on without its worker, under the same
    token, and may be ended by whoever has that. The task is claimed again from ``retry_at``, which
    heartbeats put off; ``parked_until`` is only given back to that claim, and to the next one when
    it was released or its lease has run out.
    """

    run_key: RunKey
    activity_id: int
    token: int
    now: Micros
    arrival: Arrival | None = None
    retry_at: Micros | None = None
    failure: bytes | None = None
    details: bytes | None = None
    """As of a heartbeat; ``None`` leaves them as they are."""
    parked_until: Micros | None = None


@value(frozen=True, slots=True)
class Heartbeat:
    """A sign of life of one attempt, fenced by the task's token."""

    run_key: RunKey
    activity_id: int
    token: int
    details: bytes | None = None
    """For the next attempt; ``None`` leaves what an earlier one said."""
    retry_at: Micros | None = None
    """When the attempt, if it is parked, may be claimed unless another heartbeat comes."""


# --- leases --------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class RunLease:
    run_key: RunKey
    token: int


@value(frozen=True, slots=True)
class TaskLease:
    run_key: RunKey
    activity_id: int
    token: int


@value(frozen=True, slots=True)
class Leases:
    """A set of leases: those to extend, to release, or those found lost."""

    runs: Sequence[RunLease] = field(default=())
    tasks: Sequence[TaskLease] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.runs or self.tasks)


@value(frozen=True, slots=True)
class PendingTask:
    """An activity task as a person may look at it."""

    activity_id: int
    name: str
    queue: str
    attempt: int
    failures: int
    available_at: Micros
    lease_owner: WorkerId | None
    lease_expires_at: Micros | None
    last_failure: bytes | None
    details: bytes | None = None
    start_by: Micros | None = None
    """Only while nobody has claimed it yet."""
    parked_until: Micros | None = None
