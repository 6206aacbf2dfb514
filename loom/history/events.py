"""What can happen to a run, as small frozen types.

Two kinds share one history. *Arrivals* come from outside: they are the only inputs of a run.
*Command events* record what the code asked for in answer; on replay they are compared with what it
asks for again, by ``identity``.

A ``payload`` is one of the user's values, as bytes; every other field is Loom's own.
"""

from __future__ import annotations

from typing import Any, ClassVar

from loom.history.failures import Failure
from loom.history.limits import RunLimits
from loom.history.relatives import ChildRun, ParentClosePolicy, ParentRun
from loom.history.status import RunStatus
from loom.identifiers import MessageId, Micros, RunId, WorkflowId
from loom.retry import RetryTerms
from loom.timeouts import TimeoutType
from loom.values import value


@value(frozen=True, slots=True)
class Event:
    """Something that happened to a run."""

    type: ClassVar[str]
    schema_version: ClassVar[int] = 1

    @property
    def payload_bytes(self) -> bytes | None:
        return getattr(self, "payload", None)


@value(frozen=True, slots=True)
class Stamped:
    """An event with the moment at which it was taken into history."""

    event: Event
    at: Micros
    message_id: MessageId | None = None


# --- arrivals ------------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class ArrivalEvent(Event):
    """Something that reached the run from outside."""


@value(frozen=True, slots=True)
class WorkflowStarted(ArrivalEvent):
    type: ClassVar[str] = "WORKFLOW_STARTED"
    schema_version: ClassVar[int] = 3
    name: str
    version: str
    payload: bytes
    flags: tuple[str, ...] = ()
    """Behaviours of the engine that the run was started with."""
    tags: dict[str, str] | None = None
    memo: str | None = None
    """A payload as text, which it always is; in an attribute, since an event has one payload."""
    parent: ParentRun | None = None
    continued_from: RunId | None = None
    """The run before it in its chain."""
    children: tuple[ChildRun, ...] = ()
    """Open children of the runs before it in its chain."""
    carries_state: bool = False
    """Whether the code begins only with the ``STATE_CARRIED`` that follows."""
    start_at: Micros | None = None
    """The code begins then. Taken before, it never does: the run is to be ended."""
    limits: RunLimits | None = None
    retry: RetryTerms | None = None
    """Whether and when the run is tried again when its code fails."""
    attempt: int = 1
    """The number of this try."""


@value(frozen=True, slots=True)
class StateCarried(ArrivalEvent):
    """The state that the run before it in its chain has left, with which the code begins."""

    type: ClassVar[str] = "STATE_CARRIED"
    payload: bytes


@value(frozen=True, slots=True)
class ChildCompleted(ArrivalEvent):
    type: ClassVar[str] = "CHILD_COMPLETED"
    child_id: int
    run_id: RunId
    payload: bytes


@value(frozen=True, slots=True)
class ChildFailed(ArrivalEvent):
    """A child ended without a result, or was never started."""

    type: ClassVar[str] = "CHILD_FAILED"
    child_id: int
    run_id: RunId
    failure: Failure
    status: RunStatus | None = None
    """``None`` when it was not started, since an open run has its workflow id."""


@value(frozen=True, slots=True)
class ActivityCompleted(ArrivalEvent):
    type: ClassVar[str] = "ACTIVITY_COMPLETED"
    activity_id: int
    attempt: int
    payload: bytes


@value(frozen=True, slots=True)
class ActivityFailed(ArrivalEvent):
    type: ClassVar[str] = "ACTIVITY_FAILED"
    schema_version: ClassVar[int] = 2
    activity_id: int
    attempt: int
    failure: Failure
    timeout: TimeoutType | None = None
    """Which time has run out, if the failure's kind is TIMEOUT and that is known."""
    payload: bytes | None = None
    """What the error itself says of it, for the code."""


@value(frozen=True, slots=True)
class TimerFired(ArrivalEvent):
    type: ClassVar[str] = "TIMER_FIRED"
    timer_id: int


@value(frozen=True, slots=True)
class SignalReceived(ArrivalEvent):
    type: ClassVar[str] = "SIGNAL_RECEIVED"
    name: str
    payload: bytes


@value(frozen=True, slots=True)
class WorkflowCancelRequested(ArrivalEvent):
    type: ClassVar[str] = "WORKFLOW_CANCEL_REQUESTED"
    reason: str


@value(frozen=True, slots=True)
class WorkflowTerminated(ArrivalEvent):
    """Ends the run without its code having a say."""

    type: ClassVar[str] = "WORKFLOW_TERMINATED"
    reason: str


@value(frozen=True, slots=True)
class UpdateAccepted(ArrivalEvent):
    """An update that its validator, if it has one, has let in."""

    type: ClassVar[str] = "UPDATE_ACCEPTED"
    update_id: str
    name: str
    payload: bytes


@value(frozen=True, slots=True)
class WorkflowTimedOut(ArrivalEvent):
    """Ends the run, whose time is up, without its code having a say."""

    type: ClassVar[str] = "WORKFLOW_TIMED_OUT"
    of_chain: bool = False
    """Whether it was the time of the whole chain."""


# --- command events ------------------------------------------------------------------------------


@value(frozen=True, slots=True)
class CommandEvent(Event):
    """Something that the workflow's code asked for."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """What must be the same when the code asks for it again."""
        return (self.type,)


@value(frozen=True, slots=True)
class ActivityScheduled(CommandEvent):
    """Durations in microseconds. ``None`` leaves what an attempt is held to, and its retries, to
    the worker that runs it."""

    type: ClassVar[str] = "ACTIVITY_SCHEDULED"
    schema_version: ClassVar[int] = 2
    activity_id: int
    name: str
    queue: str
    payload: bytes
    schedule_to_start: Micros | None = None
    schedule_to_close: Micros | None = None
    start_to_close: Micros | None = None
    heartbeat: Micros | None = None
    retry: RetryTerms | None = None
    local: bool = False
    """Whether the run's owner runs it itself, without a task."""

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.activity_id, self.name)


@value(frozen=True, slots=True)
class ActivityCancelRequested(CommandEvent):
    type: ClassVar[str] = "ACTIVITY_CANCEL_REQUESTED"
    activity_id: int

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.activity_id)


@value(frozen=True, slots=True)
class TimerStarted(CommandEvent):
    type: ClassVar[str] = "TIMER_STARTED"
    timer_id: int
    fire_at: Micros

    @property
    def identity(self) -> tuple[Any, ...]:
        # Not the moment: a changed duration is a change people make, and the recorded one holds.
        return (self.type, self.timer_id)


@value(frozen=True, slots=True)
class TimerCancelled(CommandEvent):
    type: ClassVar[str] = "TIMER_CANCELLED"
    timer_id: int

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.timer_id)


@value(frozen=True, slots=True)
class StateSet(CommandEvent):
    """One key of the state got a value."""

    type: ClassVar[str] = "STATE_SET"
    key: str
    payload: bytes

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.key)


@value(frozen=True, slots=True)
class StateUpdate(CommandEvent):
    """Several keys of the state changed at once; the payload maps each to its new value."""

    type: ClassVar[str] = "STATE_UPDATE"
    removed: tuple[str, ...]
    payload: bytes


@value(frozen=True, slots=True)
class SideEffectRecorded(CommandEvent):
    """What a function gave that the code had called once and for all; or how it failed."""

    type: ClassVar[str] = "SIDE_EFFECT_RECORDED"
    side_effect_id: int
    payload: bytes
    failure: Failure | None = None

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.side_effect_id)


@value(frozen=True, slots=True)
class CompensationRegistered(CommandEvent):
    """An activity that a saga runs, with these arguments, should what follows fail."""

    type: ClassVar[str] = "COMPENSATION_REGISTERED"
    compensation_id: int
    name: str
    payload: bytes

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.compensation_id, self.name)


@value(frozen=True, slots=True)
class PatchApplied(CommandEvent):
    """The run takes part in a change of its code."""

    type: ClassVar[str] = "PATCH_APPLIED"
    patch_id: str
    deprecated: bool = False
    """Whether code that does not know the patch may replay the history all the same."""

    @property
    def identity(self) -> tuple[Any, ...]:
        # Not whether it is deprecated: that is what the code does in between.
        return (self.type, self.patch_id)


@value(frozen=True, slots=True)
class TagsSet(CommandEvent):
    """Tags got new values, or, where that is ``None``, were taken away."""

    type: ClassVar[str] = "TAGS_SET"
    tags: dict[str, str | None]

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, *sorted(self.tags))


@value(frozen=True, slots=True)
class ChildStarted(CommandEvent):
    type: ClassVar[str] = "CHILD_STARTED"
    schema_version: ClassVar[int] = 2
    child_id: int
    workflow_id: WorkflowId
    run_id: RunId
    name: str
    version: str
    queue: str
    policy: ParentClosePolicy
    payload: bytes
    tags: dict[str, str] | None = None
    memo: str | None = None
    """As in ``WORKFLOW_STARTED``, like what follows."""
    limits: RunLimits | None = None
    retry: RetryTerms | None = None

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.child_id, self.name)


@value(frozen=True, slots=True)
class ChildCancelRequested(CommandEvent):
    type: ClassVar[str] = "CHILD_CANCEL_REQUESTED"
    child_id: int
    workflow_id: WorkflowId
    run_id: RunId
    reason: str

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.child_id)


@value(frozen=True, slots=True)
class SignalSent(CommandEvent):
    """A signal to another run."""

    type: ClassVar[str] = "SIGNAL_SENT"
    signal_id: int
    workflow_id: WorkflowId
    name: str
    payload: bytes
    run_id: RunId | None = None

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.signal_id, self.name)


@value(frozen=True, slots=True)
class CancelSent(CommandEvent):
    """A request to cancel another run that is no child."""

    type: ClassVar[str] = "CANCEL_SENT"
    cancel_id: int
    workflow_id: WorkflowId
    reason: str
    run_id: RunId | None = None

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.cancel_id)


@value(frozen=True, slots=True)
class UpdateCompleted(CommandEvent):
    """The handler of an update returned."""

    type: ClassVar[str] = "UPDATE_COMPLETED"
    update_id: str
    payload: bytes

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.update_id)


@value(frozen=True, slots=True)
class UpdateFailed(CommandEvent):
    """The handler of an update raised."""

    type: ClassVar[str] = "UPDATE_FAILED"
    update_id: str
    failure: Failure

    @property
    def identity(self) -> tuple[Any, ...]:
        return (self.type, self.update_id)


@value(frozen=True, slots=True)
class WorkflowCompleted(CommandEvent):
    type: ClassVar[str] = "WORKFLOW_COMPLETED"
    payload: bytes


@value(frozen=True, slots=True)
class WorkflowFailed(CommandEvent):
    type: ClassVar[str] = "WORKFLOW_FAILED"
    schema_version: ClassVar[int] = 2
    failure: Failure
    next_run_id: RunId | None = None
    """The run that tries it again, if one does."""
    retry_at: Micros | None = None
    """When that begins."""


@value(frozen=True, slots=True)
class WorkflowCancelled(CommandEvent):
    type: ClassVar[str] = "WORKFLOW_CANCELLED"
    reason: str


@value(frozen=True, slots=True)
class WorkflowContinuedAsNew(CommandEvent):
    """The run ends, and another of the same workflow id goes on with this input."""

    type: ClassVar[str] = "WORKFLOW_CONTINUED_AS_NEW"
    run_id: RunId
    name: str
    version: str
    queue: str
    payload: bytes


FINAL_STATUS: dict[type[Event], RunStatus] = {
    WorkflowCompleted: RunStatus.COMPLETED,
    WorkflowFailed: RunStatus.FAILED,
    WorkflowCancelled: RunStatus.CANCELLED,
    WorkflowTerminated: RunStatus.TERMINATED,
    WorkflowTimedOut: RunStatus.TIMED_OUT,
    WorkflowContinuedAsNew: RunStatus.CONTINUED_AS_NEW,
}
"""The events that end a run, always the last of its history."""


# --- what never enters a history ------------------------------------------------------------------


@value(frozen=True, slots=True)
class PassingEvent(Event):
    """What a message or an answer carries, and no history."""


@value(frozen=True, slots=True)
class UpdateRequested(PassingEvent):
    """Becomes ``UpdateAccepted``, or is answered with ``UpdateRejected``."""

    type: ClassVar[str] = "UPDATE_REQUESTED"
    update_id: str
    name: str
    payload: bytes


@value(frozen=True, slots=True)
class UpdateRejected(PassingEvent):
    type: ClassVar[str] = "UPDATE_REJECTED"
    update_id: str
    failure: Failure


@value(frozen=True, slots=True)
class UpdateUnfinished(PassingEvent):
    """The run has ended before the update was done, or before it was accepted."""

    type: ClassVar[str] = "UPDATE_UNFINISHED"
    update_id: str
    accepted: bool = True


type UpdateAnswer = UpdateCompleted | UpdateFailed | UpdateRejected | UpdateUnfinished
"""What whoever sent an update is told."""


def request_message_id(request_id: str) -> MessageId:
    """The id of a message whose sender gave it one of his own: with a prefix, so that no request
    can be taken for one of Loom's own messages."""
    return f"request:{request_id}"


def update_message_id(update_id: str) -> MessageId:
    """The id of the message that requests an update."""
    return f"update:{update_id}"


def continued_by(final: Event) -> RunId | None:
    """The run that follows in its chain on one that ended so, if one does."""
    if isinstance(final, WorkflowContinuedAsNew):
        return final.run_id
    return final.next_run_id if isinstance(final, WorkflowFailed) else None
