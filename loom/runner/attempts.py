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
from loom.errors import LoomError
from loom.history.events import ActivityCompleted, ActivityFailed
from loom.history.failures import Failure, FailureKind, failure_from
from loom.history.payloads import PayloadConverter
from loom.identifiers import RunId, RunKey, WorkflowId
from loom.runner.clock import Clock


@dataclass(slots=True, eq=False)
class Attempt:
    """One try of one activity, held under a lease."""

    run_key: RunKey
    workflow_id: WorkflowId
    run_id: RunId
    activity_id: int
    name: str
    payload: bytes
    token: int = 1
    number: int = 1
    failures: int = 0
    """How many attempts before this one ended in an error."""
    given_up: bool = False
    """Whether nobody wants its outcome any more."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def info(self) -> ActivityInfo:
        return ActivityInfo(self.name, self.workflow_id, self.run_id, self.activity_id, self.number)


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed, and another is due after ``delay``."""

    delay: timedelta
    failure: Failure


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
    try:
        arguments = converter.decode(attempt.payload, definition.arguments_type)
    except LoomError as error:
        return ActivityFailed(attempt.activity_id, attempt.number, failure_from(error))
    timeout = definition.timeout
    try:
        async with clock.timeout(timeout.total_seconds() if timeout else None) as scope:
            result = await _call(attempt, definition, arguments, threads)
    except asyncio.CancelledError as error:
        if attempt.given_up or _being_cancelled():
            raise
        return _failed(attempt, definition, error)
    except Exception as error:
        kind = FailureKind.TIMEOUT if scope.expired() else FailureKind.ERROR
        return _failed(attempt, definition, _timed_out(error, timeout, kind), kind)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # `sys.exit()` and the like fail an activity, they do not end a worker.
        return _failed(attempt, definition, error)
    return _returned(attempt, definition, converter, result)


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


def _returned(
    attempt: Attempt, definition: ActivityDefinition, converter: PayloadConverter, result: Any
) -> AttemptOutcome:
    try:
        judge = definition.retry.retry_result
        if judge is not None and judge(result):
            unwanted = LoomError(f"The result of activity {attempt.name!r} asks for another try.")
            return _failed(attempt, definition, unwanted, by_result=True)
        payload = converter.encode(result, definition.result_type)
    except Exception as error:
        return ActivityFailed(attempt.activity_id, attempt.number, failure_from(error))
    return ActivityCompleted(attempt.activity_id, attempt.number, payload)


def _failed(
    attempt: Attempt,
    definition: ActivityDefinition,
    error: BaseException,
    kind: FailureKind = FailureKind.ERROR,
    *,
    by_result: bool = False,
) -> AttemptOutcome:
    failures = attempt.failures + 1
    failure = failure_from(error, kind)
    policy = definition.retry
    try:
        again = policy.allows(None if by_result else error, failures)
    except Exception as broken:
        failure, again = failure_from(broken), False
    if not again:
        return ActivityFailed(attempt.activity_id, attempt.number, failure)
    return Retry(policy.delay(failures, random.random()), failure)


def _timed_out(error: Exception, timeout: timedelta | None, kind: FailureKind) -> Exception:
    if kind is FailureKind.TIMEOUT and timeout is not None:
        return TimeoutError(f"it took longer than {timeout.total_seconds():g} s")
    return error


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def lost_failure(attempt: Attempt) -> ActivityFailed:
    """The outcome of an activity whose workers died over it too often."""
    lost = attempt.number - 1 - attempt.failures
    failure = Failure(
        "loom.errors.ActivityLostError",
        f"{lost} workers died, or were cut off, while they ran it",
        kind=FailureKind.LOST,
    )
    return ActivityFailed(attempt.activity_id, attempt.number - 1, failure)
