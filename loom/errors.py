"""Every error Loom raises, as one tree.

LoomError
├── ConfigurationError            a setting, DSN or definition is wrong
│   ├── DefinitionError           a decorated workflow, step or activity cannot work as written
│   ├── DurationError             what should be a time span is none, or is too short
│   └── UnsupportedStoreError     no installed store serves the DSN's scheme
├── PayloadError                  a value does not fit its declared type, or cannot be stored
│   └── CodecError                a payload's codec is missing, or fails
├── StoreError                    the database refused, failed or went away
│   ├── StoreUnavailableError     it cannot be reached now; the outcome may be unknown
│   └── SchemaVersionError        its schema is older or newer than this Loom
├── HistoryError                  a stored event cannot be read by this version of Loom
│   └── HistoryFormatError        what should be an exported history is none
├── WorkflowNotFoundError         no run has that id
├── QueryError                    a query has no answer: no such handler, or no run to ask
│   └── QueryFailedError          its handler raised
├── ReadOnlyError                 what may only look asked for what would change the run
├── UpdateError                   an update has not come to its result
│   ├── UpdateRejectedError       it was not accepted, and has changed nothing
│   ├── UpdateFailedError         its handler raised
│   └── UpdateUnfinishedError     the run ended before it was done
├── WorkflowNotServedError        the code of a run's workflow, in its version, is not here
├── WorkflowAlreadyStartedError   an open run already has that id
├── WorkflowClosedError           the run has ended, so it takes no more messages
├── WorkflowExecutionError        the awaited run did not complete
│   ├── WorkflowFailedError       its code raised
│   ├── WorkflowCancelledError    it was cancelled and let itself be
│   ├── WorkflowTerminatedError   it was terminated from outside
│   └── WorkflowTimedOutError     its time was up
├── ActivityCancelledError        nobody wants an activity's outcome (raised inside a plain one)
├── ActivityClosedError           the attempt that a token names is over
├── ActivityError                 raised by an activity that knows what shall follow
│   └── MockError                 a mocked activity has no outcome for this attempt
├── ActivityFailedError           an activity failed for good (raised inside the workflow)
│   ├── ActivityTimeoutError      it, or its last attempt, ran out of time
│   └── ActivityLostError         its workers died again and again while running it
├── CompensationFailedError (ExceptionGroup)  compensations of a saga failed
├── ChildWorkflowError            a child did not complete (raised inside its parent)
│   ├── ChildWorkflowFailedError      its code raised
│   ├── ChildWorkflowCancelledError   it was cancelled and let itself be
│   ├── ChildWorkflowTerminatedError  it was terminated
│   ├── ChildWorkflowTimedOutError  its time was up
│   └── ChildWorkflowNotStartedError  an open run has its id
├── SideEffectFailedError         the function of a side effect raised
├── NonDeterministicWorkflowError the code no longer asks for what its history recorded
│   └── NonDeterministicCallError it called what would not be the same on replay
└── DeadlockError                 a test waits for a run that nothing will ever move on

CompleteLater (BaseException)     raised by an activity that somebody else will complete
StopReplay (BaseException)        unwinds a halted run's coroutines; never caught by user code
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from loom.identifiers import in_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loom.identifiers import RunId, WorkflowId
    from loom.timeouts import TimeoutType


class LoomError(Exception):
    """Something went wrong in Loom."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


class ConfigurationError(LoomError):
    """A setting, DSN or definition is wrong."""


class DefinitionError(ConfigurationError):
    """A decorated workflow, step or activity cannot work as written."""


class DurationError(ConfigurationError, ValueError):
    """What should be a ``timedelta`` or a number of seconds is none, or is too short."""


class UnsupportedStoreError(ConfigurationError):
    """No installed store serves the DSN's scheme."""


class PayloadError(LoomError):
    """A value does not fit its declared type, or cannot be stored."""


class CodecError(PayloadError):
    """A payload's codec is missing, or fails."""


class StoreError(LoomError):
    """The database refused, failed or went away."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached now; the outcome of the call may be unknown."""


class SchemaVersionError(StoreError):
    """The database's schema is older or newer than this version of Loom."""


class HistoryError(LoomError):
    """A stored event cannot be read by this version of Loom."""


class HistoryFormatError(HistoryError):
    """What should be an exported history is none, or is damaged; the message says where."""


class WorkflowNotFoundError(LoomError):
    """No run has that id."""


class QueryError(LoomError):
    """A query has no answer: there is no such handler, or the run cannot be asked."""


class QueryFailedError(QueryError):
    """The handler of a query raised; that is the cause of this error."""


class ReadOnlyError(LoomError):
    """A query, a validator or a side effect's function asked for what would change the run."""


class UpdateError(LoomError):
    """An update has not come to its result.

    Attributes:
        workflow_id, update_id: which update.
        cause_type: qualified name of the exception that refused or ended it, when there was one.
        cause_message: its message.
        cause_traceback: its traceback as text, causes included; empty when there was none.
    """

    def __init__(
        self,
        message: str,
        *,
        workflow_id: WorkflowId,
        update_id: str,
        cause_type: str = "",
        cause_message: str = "",
        cause_traceback: str = "",
    ) -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.update_id = update_id
        self.cause_type = cause_type
        self.cause_message = cause_message
        self.cause_traceback = cause_traceback


class UpdateRejectedError(UpdateError):
    """The update was not accepted, and has changed nothing."""


class UpdateFailedError(UpdateError):
    """The handler of the update raised."""


class UpdateUnfinishedError(UpdateError):
    """The run ended before the update was done."""


class WorkflowNotServedError(LoomError):
    """The code of a run's workflow, in the run's version, is not here."""


class WorkflowAlreadyStartedError(LoomError):
    """An open run already has that id."""


class WorkflowClosedError(LoomError):
    """The run has ended, so it takes no more messages."""


class WorkflowExecutionError(LoomError):
    """The awaited run did not complete.

    Attributes:
        workflow_id, run_id: which run.
        cause_type: qualified name of the exception that ended it, when there was one.
        cause_message: its message.
        cause_traceback: its traceback as text, causes included; empty when there was none.
    """

    def __init__(
        self,
        message: str,
        *,
        workflow_id: WorkflowId,
        run_id: RunId,
        cause_type: str = "",
        cause_message: str = "",
        cause_traceback: str = "",
    ) -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.cause_type = cause_type
        self.cause_message = cause_message
        self.cause_traceback = cause_traceback


class WorkflowFailedError(WorkflowExecutionError):
    """The workflow's code raised."""


class WorkflowCancelledError(WorkflowExecutionError):
    """The workflow was cancelled."""


class WorkflowTerminatedError(WorkflowExecutionError):
    """The workflow was terminated from outside."""


class WorkflowTimedOutError(WorkflowExecutionError):
    """The workflow's time was up."""


class ActivityCancelledError(LoomError):
    """Nobody wants the outcome of this activity any more; raised by ``loom.heartbeat`` in plain
    functions, which cannot be cancelled from outside."""


class ActivityClosedError(LoomError):
    """The attempt of an activity that a task token names is over."""


class ActivityError(LoomError):
    """Raised by an activity that knows what shall follow from its failure.

    Args:
        retry_after: when to try again (``timedelta`` or seconds), in place of the wait that the
            retry policy would have; whether to try again is the policy's to say.
        non_retryable: whether it fails for good, whatever the policy says.
        details: any value that can be stored; the workflow reads it as
            ``ActivityFailedError.details``.

    Raises ``ValueError`` when both ``retry_after`` and ``non_retryable`` are given, and
    ``DurationError``, which is one, when the wait is none.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after: timedelta | float | None = None,
        non_retryable: bool = False,
        details: Any = None,
    ) -> None:
        super().__init__(message)
        if retry_after is not None and non_retryable:
            raise ValueError("ActivityError: retry_after must not be given with non_retryable.")
        self.retry_after = _wait("ActivityError: retry_after", retry_after)
        self.non_retryable = non_retryable
        self.details = details


def _wait(what: str, given: object) -> timedelta | None:
    # `loom.durations` is for what lies above the errors, which it raises.
    if given is None:
        return None
    micros = in_micros(given)
    if micros is None:
        raise DurationError(f"{what} must be a timedelta or a number of seconds, not {given!r}.")
    if micros < 0:
        raise DurationError(f"{what} must not be negative, as {given!r} is.")
    return timedelta(microseconds=micros)


class MockError(ActivityError):
    """A mocked activity has no outcome for this attempt; it fails for good."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, non_retryable=True)


class ActivityFailedError(LoomError):
    """An activity failed for good; raised where the workflow awaits it.

    Attributes:
        activity: the activity's registered name.
        attempts: how often it was tried.
        cause_type, cause_message, cause_traceback: the last attempt's exception, as text.
        details: what an ``ActivityError`` was given, as plain JSON values; see ``details_as``.
    """

    def __init__(
        self,
        message: str,
        *,
        activity: str,
        attempts: int,
        cause_type: str = "",
        cause_message: str = "",
        cause_traceback: str = "",
        details: Any = None,
        read_details: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.activity = activity
        self.attempts = attempts
        self.cause_type = cause_type
        self.cause_message = cause_message
        self.cause_traceback = cause_traceback
        self.details = details
        self._read_details = read_details

    def details_as[T](self, type: type[T]) -> T:
        """The details, read as a type. Raises ``PayloadError`` when there are none, or they do not
        fit."""
        if self._read_details is None:
            raise PayloadError(f"The failure of activity {self.activity!r} has no details.")
        read: T = self._read_details(type)
        return read


class ActivityTimeoutError(ActivityFailedError):
    """An activity, or its last attempt, ran out of time.

    Attributes:
        timeout: which of its times has run out; ``None`` in histories of Loom 0.1.
    """

    timeout: TimeoutType | None = None


class ActivityLostError(ActivityFailedError):
    """The workers that ran an activity died again and again."""


class CompensationFailedError(ExceptionGroup[Exception], LoomError):
    """Compensations of a saga failed for good; what they were to undo has not been undone.

    A group of their errors, whose cause is what made the saga fail.
    """

    def derive(self, errors: Sequence[Exception], /) -> CompensationFailedError:  # type: ignore[override]
        return CompensationFailedError(self.message, errors)


class ChildWorkflowError(LoomError):
    """A child workflow did not complete; raised where its parent awaits it.

    Attributes:
        workflow: the child's registered name.
        workflow_id, run_id: which run.
        cause_type, cause_message, cause_traceback: the exception that ended it, as text; empty
            when there was none.
    """

    def __init__(
        self,
        message: str,
        *,
        workflow: str,
        workflow_id: WorkflowId,
        run_id: RunId,
        cause_type: str = "",
        cause_message: str = "",
        cause_traceback: str = "",
    ) -> None:
        super().__init__(message)
        self.workflow = workflow
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.cause_type = cause_type
        self.cause_message = cause_message
        self.cause_traceback = cause_traceback


class ChildWorkflowFailedError(ChildWorkflowError):
    """A child workflow's code raised."""


class ChildWorkflowCancelledError(ChildWorkflowError):
    """A child workflow was cancelled."""


class ChildWorkflowTerminatedError(ChildWorkflowError):
    """A child workflow was terminated."""


class ChildWorkflowTimedOutError(ChildWorkflowError):
    """A child workflow's time was up."""


class ChildWorkflowNotStartedError(ChildWorkflowError):
    """A child workflow was not started, since an open run has its id."""


class SideEffectFailedError(LoomError):
    """The function of a side effect raised, when it was called; raised again on every replay.

    Attributes:
        cause_type, cause_message, cause_traceback: what it raised, as text.
    """

    def __init__(
        self,
        message: str,
        *,
        cause_type: str = "",
        cause_message: str = "",
        cause_traceback: str = "",
    ) -> None:
        super().__init__(message)
        self.cause_type = cause_type
        self.cause_message = cause_message
        self.cause_traceback = cause_traceback


class NonDeterministicWorkflowError(LoomError):
    """The workflow's code no longer asks for what its history recorded.

    Attributes:
        event: the sequence of the recorded event that the code does not ask for; ``None`` where
            history holds no more, or where an answer comes that was not asked for.
        history: what history holds there, ``code``: what the code asks for; ``None`` is nothing
            more.
        place: the file, line and function of the workflow that asks, when it is known.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        event: int | None = None,
        history: str | None = None,
        code: str | None = None,
        place: str | None = None,
    ) -> None:
        super().__init__(message)
        self.event = event
        self.history = history
        self.code = code
        self.place = place


class NonDeterministicCallError(NonDeterministicWorkflowError):
    """The workflow's code called something that would not be the same on replay."""


class DeadlockError(LoomError):
    """A test waits for a run that nothing will ever move on; the message says what runs wait for.

    Raised by what waits inside a ``loom.testing.WorkflowEnvironment``, where it would hang.
    """


class CompleteLater(BaseException):
    """Raised by an activity that has begun something which somebody else will complete.

    The attempt then goes on without its worker, held to the same times, until ``Loom`` is told by
    ``complete_activity`` or ``fail_activity``, with the token of ``activity_info().task_token``.

    A ``BaseException``, so that the activity's own ``except Exception`` does not take it for a
    failure.
    """


class StopReplay(BaseException):
    """Unwinds the coroutines of an evicted or halted run.

    A ``BaseException``, so that a user's ``except Exception`` cannot swallow it.
    """
