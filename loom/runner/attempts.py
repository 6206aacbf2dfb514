"""One attempt of an activity, and judging how it went."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from loom.authoring.activity_options import ActivityOptions
from loom.errors import ActivityError, LoomError
from loom.history.events import ActivityCompleted, ActivityFailed, ActivityScheduled
from loom.history.failures import Failure, FailureKind, failure_from
from loom.history.payloads import PayloadConverter
from loom.identifiers import Micros, RunId, RunKey, WorkflowId
from loom.runner.task_tokens import TaskToken
from loom.timeouts import TimeoutType
from loom.values import value


@dataclass(slots=True, eq=False)
class Attempt:
    """One try of one activity, held under a lease."""

    run_key: RunKey
    workflow_id: WorkflowId
    run_id: RunId
    scheduled: ActivityScheduled
    scheduled_at: Micros
    token: int = 1
    number: int = 1
    failures: int = 0
    """How many attempts before this one ended in an error."""
    has_slot: bool = False
    given_up: bool = False
    """Whether nobody wants its outcome any more."""
    timed_out: bool = False
    is_ending: bool = False
    """Whether its outcome is on its way to the store, which answers whether it came in time."""
    details: bytes | None = None
    """What was last said by a heartbeat, of this attempt or of one before."""
    unsaved: bool = False
    """Whether something was said that is not on its way to the store."""
    beat_at: Micros = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def activity_id(self) -> int:
        return self.scheduled.activity_id

    @property
    def name(self) -> str:
        return self.scheduled.name

    @property
    def is_unwanted(self) -> bool:
        """Whether its code may as well stop."""
        return self.given_up or self.timed_out

    @property
    def close_by(self) -> Micros | None:
        """When the run stops waiting for the activity, however it stands then."""
        limit = self.scheduled.schedule_to_close
        return None if limit is None else self.scheduled_at + limit


@value(frozen=True, slots=True)
class Retry:
    """The attempt failed, and another is due after ``delay``."""

    delay: timedelta
    failed: ActivityFailed
    """What would have become of it with no attempts left."""


@value(frozen=True, slots=True)
class Parked:
    """The attempt goes on without its worker, until somebody who has the token ends it."""

    token: TaskToken


type AttemptOutcome = ActivityCompleted | ActivityFailed | Retry | Parked


@value(frozen=True, slots=True)
class Judge:
    """Says what follows from how an attempt ended."""

    attempt: Attempt
    options: ActivityOptions
    converter: PayloadConverter

    def returned(self, result: Any, declared: Any) -> AttemptOutcome:
        attempt = self.attempt
        try:
            is_unwanted = self.options.policy.retry_result
            if is_unwanted is not None and is_unwanted(result):
                unwanted = f"The result of activity {attempt.name!r} asks for another try."
                return self._failed(self._failure(LoomError(unwanted)), None)
            payload = self.converter.encode(
                result, declared, "The result of activity", attempt.name
            )
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return self.failed_for_good(error)
        return ActivityCompleted(attempt.activity_id, attempt.number, payload)

    def raised(self, error: BaseException) -> AttemptOutcome:
        if isinstance(error, ActivityError):
            return self._said(error)
        return self._failed(self._failure(error), error)

    def timed_out(self, which: TimeoutType, limit: timedelta) -> AttemptOutcome:
        """Some time that the attempt itself is held to has run out."""
        error = TimeoutError(_TOO_LONG[which].format(limit.total_seconds()))
        return self._failed(self._failure(error, timeout=which), error)

    def failed_for_good(self, error: BaseException) -> ActivityFailed:
        return self._failure(error)

    def _said(self, error: ActivityError) -> AttemptOutcome:
        details = None
        if error.details is not None:
            try:
                details = self.converter.encode(
                    error.details, Any, "The details of an error of activity", self.attempt.name
                )
            except LoomError as unstorable:
                unstorable.__context__ = error
                return self.failed_for_good(unstorable)
        failed = self._failure(error, details=details)
        return failed if error.non_retryable else self._failed(failed, error, error.retry_after)

    def _failed(
        self, failed: ActivityFailed, error: BaseException | None, wait: timedelta | None = None
    ) -> AttemptOutcome:
        """``error`` is ``None`` when the result was unwanted."""
        failures = self.attempt.failures + 1
        policy = self.options.policy
        try:
            again = policy.allows(error, failures)
        except KeyboardInterrupt:
            raise
        except BaseException as broken:
            return self.failed_for_good(broken)
        if not again:
            return failed
        return Retry(policy.delay(failures, random.random()) if wait is None else wait, failed)

    def _failure(
        self,
        error: BaseException,
        *,
        timeout: TimeoutType | None = None,
        details: bytes | None = None,
    ) -> ActivityFailed:
        kind = FailureKind.ERROR if timeout is None else FailureKind.TIMEOUT
        attempt, failure = self.attempt, failure_from(error, kind)
        return ActivityFailed(attempt.activity_id, attempt.number, failure, timeout, details)


_TOO_LONG = {
    TimeoutType.START_TO_CLOSE: "it took longer than {:g} s",
    TimeoutType.HEARTBEAT: "it was silent for longer than {:g} s",
}


def lost_failure(attempt: Attempt) -> ActivityFailed:
    """The outcome of an activity whose workers died over it too often."""
    lost = attempt.number - 1 - attempt.failures
    failure = Failure(
        "loom.errors.ActivityLostError",
        f"{lost} workers died, or were cut off, while they ran it",
        kind=FailureKind.LOST,
    )
    return ActivityFailed(attempt.activity_id, attempt.number - 1, failure)
