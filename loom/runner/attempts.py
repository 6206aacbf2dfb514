"""One attempt of an activity: running the user's function, and judging how it went."""

from __future__ import annotations

import asyncio
import contextvars
import random
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from loom.authoring.activity import CURRENT_ACTIVITY, ActivityDefinition, ActivityInfo
from loom.authoring.activity_options import ActivityOptions, with_recorded
from loom.errors import ActivityError, LoomError
from loom.history.events import ActivityCompleted, ActivityFailed, ActivityScheduled
from loom.history.failures import Failure, FailureKind, failure_from
from loom.history.payloads import PayloadConverter
from loom.identifiers import Micros, RunId, RunKey, WorkflowId
from loom.runner.clock import Clock
from loom.timeouts import TimeoutType


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
    given_up: bool = False
    """Whether nobody wants its outcome any more."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def activity_id(self) -> int:
        return self.scheduled.activity_id

    @property
    def name(self) -> str:
        return self.scheduled.name

    @property
    def info(self) -> ActivityInfo:
        return ActivityInfo(
            self.name, self.workflow_id, self.run_id, self.activity_id, self.number, self.failures
        )

    @property
    def close_by(self) -> Micros | None:
        """When the run stops waiting for the activity, however it stands then."""
        limit = self.scheduled.schedule_to_close
        return None if limit is None else self.scheduled_at + limit


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed, and another is due after ``delay``."""

    delay: timedelta
    failed: ActivityFailed
    """What would have become of it with no attempts left."""


type AttemptOutcome = ActivityCompleted | ActivityFailed | Retry


async def run_attempt(
    attempt: Attempt,
    definition: ActivityDefinition,
    converter: PayloadConverter,
    threads: Executor,
    clock: Clock,
) -> AttemptOutcome:
    """Run one attempt to its outcome.

    Raises only ``asyncio.CancelledError``, and only when the attempt itself was cancelled.
    """
    options = with_recorded(definition.options, attempt.scheduled)
    judge = Judge(attempt, options, converter)
    try:
        arguments = converter.decode(attempt.scheduled.payload, definition.arguments_type)
    except LoomError as error:
        return judge.failed_for_good(error)
    timeout = options.start_to_close_timeout
    try:
        async with clock.timeout(timeout.total_seconds() if timeout else None) as scope:
            result = await _call(attempt, definition, arguments, threads)
    except asyncio.CancelledError as error:
        if attempt.given_up or _being_cancelled():
            raise
        return judge.raised(error)
    except Exception as error:
        if timeout is not None and scope.expired():
            return judge.timed_out(TimeoutType.START_TO_CLOSE, timeout)
        return judge.raised(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # `sys.exit()` and the like fail an activity, they do not end a worker.
        return judge.raised(error)
    return judge.returned(result, definition.result_type)


async def _call(
    attempt: Attempt,
    definition: ActivityDefinition,
    arguments: dict[str, Any],
    threads: Executor,
) -> Any:
    CURRENT_ACTIVITY.set(attempt.info)
    if definition.is_async:
        return await definition.call(arguments)
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, context.run, _call_plain, definition, arguments)


def _call_plain(definition: ActivityDefinition, arguments: dict[str, Any]) -> Any:
    try:
        return definition.call(arguments)
    except StopIteration as error:
        # A future cannot carry it.
        raise RuntimeError("The activity raised StopIteration.") from error


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@dataclass(frozen=True, slots=True)
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
            payload = self.converter.encode(result, declared)
        except Exception as error:
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
                details = self.converter.encode(error.details)
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
        except Exception as broken:
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
