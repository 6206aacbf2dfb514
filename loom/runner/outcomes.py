"""Ending attempts through the store, however long that is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from loom.errors import StoreError, StoreUnavailableError
from loom.history.codec import encode_attributes
from loom.history.events import ActivityFailed
from loom.history.failures import failure_from
from loom.identifiers import END_OF_TIME, MICROS_PER_SECOND, Micros
from loom.runner import sizes
from loom.runner.attempts import Attempt, AttemptOutcome, Parked, Retry
from loom.runner.clock import Clock
from loom.runner.context import WorkerContext
from loom.runner.group_writer import GroupWriter
from loom.runner.relations import arrival_of
from loom.storage.notifier import MESSAGES
from loom.storage.records import ActivityCompletion, WriteOutcome

_log = logging.getLogger("loom.worker")

_FIRST_BACKOFF, _LAST_BACKOFF = 0.05, 1.0  # seconds

_REFUSALS = 4
"""How often an outcome is refused before it is the outcome's own fault: the store may refuse
everything for a moment, as while a password is changed."""


class Outcomes:
    """The outcomes that go through the store."""

    def __init__(self, worker: WorkerContext) -> None:
        self._clock = worker.clock
        self._notifier = worker.notifier
        complete = worker.repository.complete_activity_tasks
        self._writer = GroupWriter(complete, size=sizes.of_completion)
        self.on_due_at: Callable[[Micros], None] = lambda moment: None
        """Told when a task that was given back will be due."""

    async def write(self, attempt: Attempt, outcome: AttemptOutcome) -> None:
        """End an attempt, unless it is given up meanwhile.

        Repeating it is safe: the task's token lets it happen once.
        """
        wait, refusals = _FIRST_BACKOFF, 0
        while not attempt.given_up:
            completion = self._completion(attempt, outcome)
            try:
                written = await self._writer.submit(completion)
            except StoreError as error:
                if not isinstance(error, StoreUnavailableError):
                    refusals += 1
                if refusals < _REFUSALS:
                    _log.warning("activity %s: its outcome waits: %s", attempt.name, error)
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, _LAST_BACKOFF)
                elif isinstance(outcome, ActivityFailed):
                    _log.exception("activity %s: its failure cannot be stored", attempt.name)
                    break
                else:
                    outcome = self._unstorable(attempt, error)
                    wait, refusals = _FIRST_BACKOFF, 0
            else:
                self._ended(completion, is_new=written is WriteOutcome.WRITTEN)
                break

    def _unstorable(self, attempt: Attempt, error: StoreError) -> ActivityFailed:
        """What is told instead of an outcome that the store does not take."""
        return ActivityFailed(attempt.activity_id, attempt.number, failure_from(error))

    def _completion(self, attempt: Attempt, outcome: AttemptOutcome) -> ActivityCompletion:
        now = self._clock.now()
        key = attempt.run_key, attempt.activity_id, attempt.token, now
        if isinstance(outcome, Parked):
            return ActivityCompletion(
                *key,
                retry_at=outcome.token.retry_at(now),
                parked_until=outcome.token.parked_until,
                details=attempt.details,
            )
        if not isinstance(outcome, Retry):
            return ActivityCompletion(*key, arrival=arrival_of(outcome))
        return ActivityCompletion(
            *key,
            retry_at=retry_at(outcome, now),
            failure=encode_attributes(outcome.failed),
            details=attempt.details,
        )

    def _ended(self, completion: ActivityCompletion, *, is_new: bool) -> None:
        """An attempt's end is durable: tell those who wait for what follows."""
        if completion.retry_at is not None:
            # Even if it is not: it may have been written before, and the answer been lost.
            self.on_due_at(completion.retry_at)
        elif is_new:
            self._notifier.publish([MESSAGES])


def retry_at(retry: Retry, now: Micros) -> Micros:
    """When the next attempt is due."""
    return min(now + round(retry.delay.total_seconds() * MICROS_PER_SECOND), END_OF_TIME)


def in_time(attempt: Attempt, outcome: AttemptOutcome, clock: Clock) -> AttemptOutcome:
    """What is left of a retry when the run will have stopped waiting by then."""
    close_by = attempt.close_by
    if isinstance(outcome, Retry) and close_by is not None:
        return outcome.failed if retry_at(outcome, clock.now()) >= close_by else outcome
    return outcome
