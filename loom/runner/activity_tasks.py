"""Activity tasks: claimed or handed over, run in a bounded number of slots, and ended.

Where an outcome goes: to the live run, when this worker owns it, and so into history with the
run's next transition; else through the store into the run's inbox. Never both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Final

from loom.history.events import ActivityCompleted, ActivityFailed, ActivityScheduled, Event
from loom.history.failures import failure_from
from loom.identifiers import Micros
from loom.runner.attempts import Attempt, AttemptOutcome, Parked, Retry, lost_failure
from loom.runner.context import WorkerContext
from loom.runner.execution import Execution
from loom.runner.heartbeats import Heartbeats
from loom.runner.outcomes import Outcomes, in_time
from loom.runner.processes import ActivityProcesses
from loom.runner.slots import Slots
from loom.runner.task_loop import Claimed
from loom.runner.threads import ActivityThreads
from loom.runner.transitions import event_of
from loom.storage.notifier import MESSAGES
from loom.storage.records import (
    ActivityClaim,
    ActivityTask,
    TaskLease,
)
from loom.storage.repository import ActivityTaskRepository

_log = logging.getLogger("loom.worker")

_CLAIM_BATCH: Final = 100
_FIRST_BACKOFF, _LAST_BACKOFF = 0.05, 1.0

type Deliver = Callable[[Attempt, ActivityCompleted | ActivityFailed], bool]
"""Gives an outcome to the live run; false when this worker does not own it."""


class ActivityTasks:
    """The activities that a worker is running."""

    def __init__(self, worker: WorkerContext) -> None:
        self._worker = worker
        self._repository: ActivityTaskRepository = worker.repository
        self._clock = worker.clock
        self._held = worker.held
        self._outcomes = Outcomes(worker)
        self._heartbeats = Heartbeats(worker.repository, worker.clock, self.lost)
        self._slots = Slots(worker.registry, worker.options, lambda: self.on_room())
        # In the order in which they began, which a set would forget.
        self._running: dict[Attempt, None] = {}
        self._threads = ActivityThreads()
        self._processes = ActivityProcesses()
        self.execution = Execution(
            converter=worker.converter,
            clock=worker.clock,
            threads=self._threads,
            processes=self._processes,
            on_heartbeat=self._heartbeats.said,
        )
        self._closed = False
        self.deliver: Deliver = lambda attempt, outcome: False
        self.on_gone: Callable[[Attempt], None] = lambda attempt: None
        """Told when an attempt has ended without an outcome for the live run."""
        self.on_room: Callable[[], None] = lambda: None
        """Told when a slot has become free while there may be tasks that want one."""

    def tell_due_at(self, listener: Callable[[Micros], None]) -> None:
        """Whom to tell when a task that was given back will be due."""
        self._outcomes.on_due_at = listener

    # --- taking work ---

    async def claim(self) -> Claimed:
        """Take what the free slots allow, and start it."""
        names = self._slots.names()
        if self._closed or not names:
            return Claimed(found=False)
        now = self._clock.now()
        claimed = await self._repository.claim_activity_tasks(
            ActivityClaim(
                owner=self._worker.owner,
                queue=self._worker.queue,
                names=names,
                now=now,
                lease_expires_at=now + self._worker.options.lease,
                limit=min(self._slots.room(names), _CLAIM_BATCH),
            )
        )
        for task in claimed.tasks:
            if task.attempt - 1 > task.failures:
                # An attempt of our own may be among the lost ones, and still be running.
                self.lost([TaskLease(task.run_key, task.activity_id, t) for t in range(task.token)])
            self._start_claimed(task)
        return Claimed(bool(claimed.tasks), claimed.next_due_at)

    def reserve(self, scheduled: ActivityScheduled) -> bool:
        """Keep a slot for an activity that is about to be scheduled, if there is one free."""
        if self._closed or scheduled.queue != self._worker.queue:
            return False
        return self._slots.reserve(scheduled.name)

    def free(self, scheduled: ActivityScheduled) -> None:
        """Give a reserved slot back."""
        self._slots.free(scheduled.name)

    def start(self, attempt: Attempt) -> None:
        """Run an attempt in a slot that was reserved for it, under a lease that is on disk."""
        self._held.add_task(attempt.run_key, attempt.activity_id, attempt.token)
        attempt.has_slot = True
        self._running[attempt] = None
        name = f"loom-activity-{attempt.name}"
        attempt.task = self.execution.begin(self._run(attempt), name)
        attempt.task.add_done_callback(partial(self._end, attempt))

    def _start_claimed(self, task: ActivityTask) -> None:
        attempt = Attempt(
            run_key=task.run_key,
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            scheduled=ActivityScheduled(task.activity_id, "", "", b""),
            scheduled_at=task.scheduled.recorded_at,
            token=task.token,
            number=task.attempt,
            failures=task.failures,
            details=task.details,
        )
        try:
            scheduled = event_of(task.scheduled)
            assert isinstance(scheduled, ActivityScheduled)
            attempt.scheduled = scheduled
        except Exception as error:
            # The damage is the run's own: it gets the failure, and its neighbours their turn.
            broken = ActivityFailed(task.activity_id, task.attempt, failure_from(error))
            self._spawn(attempt, self._report(attempt, broken))
            return
        if task.parked_until is not None:
            self._spawn(attempt, self._end_parked(attempt, task.parked_until))
        elif task.attempt - 1 - task.failures > self._worker.options.max_lost_attempts:
            self._spawn(attempt, self._report(attempt, lost_failure(attempt)))
        else:
            self._slots.take(attempt.name)
            self.start(attempt)

    # --- running ---

    async def _run(self, attempt: Attempt) -> None:
        definition = self._worker.registry.activities[attempt.name]
        with self._clock.at_work():
            outcome = await self.execution.run(attempt, definition)
            await self._report(attempt, in_time(attempt, outcome, self._clock))

    async def _end_parked(self, attempt: Attempt, parked_until: Micros) -> None:
        definition = self._worker.registry.activities[attempt.name]
        outcome = self.execution.end_parked(attempt, definition, parked_until)
        await self._report(attempt, in_time(attempt, outcome, self._clock))

    async def _report(self, attempt: Attempt, outcome: AttemptOutcome) -> None:
        if attempt.given_up:
            return
        if isinstance(outcome, Retry | Parked) or not self.deliver(attempt, outcome):
            await self.complete(attempt, outcome)

    def _end(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        if attempt.task is task:  # and not one that has its outcome to complete since
            self._running.pop(attempt, None)
            # The task's context refers to the attempt: together they would be garbage that only
            # the collector frees.
            attempt.task = None
        self.vacate(attempt)
        if task.cancelled():
            if attempt.given_up:
                return
            _log.error("activity %s: cancelled, and not by Loom", attempt.name)
        elif task.exception() is not None:
            _log.error("activity %s: internal error", attempt.name, exc_info=task.exception())
        else:
            return
        # Its lease runs out, and it is tried again, until it counts as lost.
        self.drop(attempt)
        self.on_gone(attempt)

    def _spawn(self, attempt: Attempt, work: Coroutine[None, None, None]) -> None:
        self._running[attempt] = None
        self._slots.take(attempt.name)
        attempt.has_slot = True
        attempt.task = asyncio.create_task(work)
        attempt.task.add_done_callback(partial(self._end, attempt))

    # --- ending ---

    def vacate(self, attempt: Attempt) -> None:
        """Give the slot of an attempt back whose function has returned."""
        if attempt.has_slot:
            attempt.has_slot = False
            self._slots.free(attempt.name)

    async def complete(self, attempt: Attempt, outcome: AttemptOutcome) -> None:
        """End an attempt through the store, however long that is away."""
        attempt.is_ending = True
        with self._clock.at_work():
            await self._outcomes.write(attempt, outcome)
        self.drop(attempt)
        self.on_gone(attempt)

    def complete_later(self, attempt: Attempt, outcome: Event) -> None:
        """End an attempt through the store, without waiting for it."""
        assert isinstance(outcome, ActivityCompleted | ActivityFailed)
        self._spawn(attempt, self.complete(attempt, outcome))

    def drop(self, attempt: Attempt) -> None:
        """Stop renewing the lease of an attempt that is over."""
        self._held.drop_task(attempt.run_key, attempt.activity_id, attempt.token)

    def give_up(self, attempt: Attempt) -> None:
        """Stop an attempt whose outcome nobody wants any more. A thread cannot be stopped: it runs
        on, and what it returns is dropped."""
        attempt.given_up = True
        self.drop(attempt)
        if attempt.task is not None:
            attempt.task.cancel()

    def lost(self, leases: Sequence[TaskLease]) -> None:
        """Stop the attempts that somebody else holds now.

        One that is ending may have lost its lease by that, and learns it from its own write.
        """
        gone = {(lease.run_key, lease.activity_id, lease.token) for lease in leases}
        stopped = [
            attempt
            for attempt in self._running
            if (attempt.run_key, attempt.activity_id, attempt.token) in gone
            and not attempt.is_ending
        ]
        for attempt in stopped:
            # Called off, mostly; or taken over, which whoever did so has a reason to tell of.
            _log.info("activity %s: no longer ours, attempt stopped", attempt.name)
            self.give_up(attempt)
            self.on_gone(attempt)
        if stopped:
            # One may have ended just now, and been stopped before it told anybody.
            self.on_room()
            self._worker.notifier.publish([MESSAGES])

    # --- stopping ---

    async def close(self, grace: float) -> list[TaskLease]:
        """Take nothing more, let what runs end for ``grace`` seconds, stop the rest.

        Returns the leases of what was stopped, to be released.
        """
        self._closed = True
        await self._wait_until_idle(grace)
        stopped = self._give_all_up()
        await self._wait_until_idle(grace)
        await self._heartbeats.save(stopped)
        self._threads.shutdown()
        self._processes.close()
        return [TaskLease(a.run_key, a.activity_id, a.token) for a in stopped]

    async def finish(self, grace: float) -> None:
        """After ``close``: let the outcomes that are still being written be written."""
        await self._wait_until_idle(grace)
        self.abandon()

    def abandon(self) -> None:
        """Leave everything as it is; what was held runs out by itself."""
        self._closed = True
        self._processes.close()
        self._give_all_up()

    def _give_all_up(self) -> list[Attempt]:
        stopped = [attempt for attempt in self._running if not attempt.given_up]
        for attempt in stopped:
            self.give_up(attempt)
        return stopped

    async def _wait_until_idle(self, seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while self._running:
            tasks = [attempt.task for attempt in self._running if attempt.task is not None]
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
