"""Ending attempts of activities from outside of any worker, by their tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from loom.authoring.activity import activity_definition
from loom.errors import ActivityClosedError, ActivityError, PayloadError
from loom.given import shown
from loom.history.codec import encode_attributes
from loom.history.events import ActivityCompleted, ActivityFailed
from loom.history.failures import failure_from
from loom.history.payloads import PayloadConverter
from loom.identifiers import END_OF_TIME, MICROS_PER_SECOND, RunKey
from loom.runner import sizes
from loom.runner.clock import Clock
from loom.runner.group_writer import check_size
from loom.runner.relations import arrival_of
from loom.runner.task_tokens import TaskToken
from loom.storage.notifier import MESSAGES, Notifier, activity_topic
from loom.storage.records import ActivityCompletion, Heartbeat, WriteOutcome
from loom.storage.repository import Repository


class OutsideActivities:
    """What anybody may do who has the token of an attempt."""

    def __init__(
        self,
        repository: Repository,
        notifier: Notifier,
        converter: PayloadConverter,
        clock: Clock,
    ) -> None:
        self._repository = repository
        self._notifier = notifier
        self._converter = converter
        self._clock = clock

    async def complete(self, token: str, result: Any, activity: Callable[..., Any] | None) -> None:
        task = TaskToken.read(token)
        declared = Any if activity is None else activity_definition(activity).result_type
        payload = self._converter.encode(result, declared, "The result of an activity")
        completed = ActivityCompleted(task.activity_id, task.attempt, payload)
        done = replace(await self._completion(task), arrival=arrival_of(completed))
        await self._write(task, done)
        self._notifier.publish([MESSAGES])

    async def fail(self, token: str, error: BaseException | str) -> None:
        task = TaskToken.read(token)
        cause = _cause(error)
        failed = self._failed(task, cause)
        completion = await self._completion(task)
        if isinstance(cause, ActivityError) and cause.retry_after is not None:
            delay = round(cause.retry_after.total_seconds() * MICROS_PER_SECOND)
            retry_at = min(completion.now + delay, END_OF_TIME)
            queues = await self._queues(completion.run_key, task)
            await self._write(
                task, replace(completion, retry_at=retry_at, failure=encode_attributes(failed))
            )
            self._notifier.publish(queues)
        else:
            await self._write(task, replace(completion, arrival=arrival_of(failed)))
            self._notifier.publish([MESSAGES])

    async def heartbeat(self, token: str, details: Any) -> None:
        task = TaskToken.read(token)
        payload = None if details is None else self._converter.encode(details)
        run_key = await self._run_key(task)
        retry_at = task.retry_at(self._clock.now())
        beat = Heartbeat(run_key, task.activity_id, task.token, payload, retry_at)
        check_size(sizes.of_heartbeat(beat))
        (outcome,) = await self._repository.record_heartbeats([beat])
        _check(outcome, task)

    def _failed(self, task: TaskToken, cause: BaseException) -> ActivityFailed:
        details = None
        if isinstance(cause, ActivityError) and cause.details is not None:
            details = self._converter.encode(cause.details)
        return ActivityFailed(task.activity_id, task.attempt, failure_from(cause), payload=details)

    async def _completion(self, task: TaskToken) -> ActivityCompletion:
        run_key = await self._run_key(task)
        return ActivityCompletion(run_key, task.activity_id, task.token, self._clock.now())

    async def _write(self, task: TaskToken, completion: ActivityCompletion) -> None:
        check_size(sizes.of_completion(completion))
        (outcome,) = await self._repository.complete_activity_tasks([completion])
        _check(outcome, task)

    async def _run_key(self, task: TaskToken) -> RunKey:
        run = await self._repository.find_run(task.workflow_id, task.run_id)
        if run is None:
            raise _closed(task)
        return run.run_key

    async def _queues(self, run_key: RunKey, task: TaskToken) -> Sequence[str]:
        tasks = await self._repository.list_tasks(run_key)
        return [activity_topic(t.queue) for t in tasks if t.activity_id == task.activity_id]


def _cause(error: object) -> BaseException:
    if isinstance(error, str):
        return ActivityError(error)
    if not isinstance(error, BaseException):
        raise PayloadError(f"error={shown(error)} must be an exception, or a text that tells why.")
    return error


def _check(outcome: WriteOutcome, task: TaskToken) -> None:
    if outcome is WriteOutcome.LOST:
        raise _closed(task)


def _closed(task: TaskToken) -> ActivityClosedError:
    return ActivityClosedError(
        f"Attempt {task.attempt} of activity {task.activity_id} of workflow {task.workflow_id!r} "
        "is over: it was ended or cancelled, it ran out of time, or another attempt has followed "
        "it, which has a token of its own."
    )
