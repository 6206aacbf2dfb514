"""Local activities: run by their run's owner itself, between the code's answer and its writing.

They have no task. What they were asked for and what came of it is written together, several in one
turn; one that takes longer is written as asked for, and its outcome when it is there. When the
owner dies, or its turn cannot be written, whoever takes over runs them again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from typing import Final

from loom.authoring.activity import ActivityDefinition
from loom.engine.decision import Decision, LocalCall
from loom.engine.instance import WorkflowInstance
from loom.errors import LoomError
from loom.history.events import ActivityCompleted, ActivityFailed, Stamped
from loom.history.failures import failure_from
from loom.identifiers import RunId, WorkflowId
from loom.runner.activity_changes import activity_changes
from loom.runner.attempts import Attempt, AttemptOutcome, Parked, Retry
from loom.runner.clock import Clock
from loom.runner.context import WorkerContext
from loom.runner.execution import Execution
from loom.runner.outcomes import in_time, retry_at

_log = logging.getLogger("loom.worker")

_PATIENCE: Final = 0.25
"""Seconds that a turn waits to be written with the outcomes of its local activities."""

_FOREVER: Final = 1e9

type Decide = Callable[[WorkflowInstance, Sequence[Stamped]], Decision]


class LocalCalls:
    """The local activities of one run that run in this worker, and what has come of them."""

    def __init__(self, runner: LocalActivities, workflow_id: WorkflowId, run_id: RunId) -> None:
        self._runner = runner
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._running: dict[int, _Call] = {}
        self._outcomes: list[ActivityCompleted | ActivityFailed] = []
        self._changed = asyncio.Event()
        self.on_outcome: Callable[[], None] = lambda: None
        """Told of each outcome."""

    @property
    def are_running(self) -> bool:
        return bool(self._running)

    @property
    def have_ended(self) -> bool:
        """Whether there are outcomes to be taken."""
        return bool(self._outcomes)

    def attempt(self, activity_id: int) -> int | None:
        """Which attempt is running; ``None`` when none is any more."""
        call = self._running.get(activity_id)
        return None if call is None else call.attempt.number

    def follow(self, instance: WorkflowInstance) -> None:
        """Begin what the code has asked for, and stop what it waits for no more."""
        awaited = instance.awaited_local_calls
        for activity_id in [id_ for id_ in self._running if id_ not in awaited]:
            self._stop(activity_id)
        for call in instance.take_local_calls():
            self._start(call)

    def take(self, awaited: Container[int]) -> list[ActivityCompleted | ActivityFailed]:
        """The outcomes that are still awaited, each once."""
        taken, self._outcomes = self._outcomes, []
        self._changed.clear()
        return [outcome for outcome in taken if outcome.activity_id in awaited]

    async def wait(self, clock: Clock) -> None:
        """Wait for an outcome, but not for long."""
        if not self._outcomes:
            self._changed.clear()
            await clock.wait(self._changed, _PATIENCE)

    def give_up(self) -> None:
        """Stop all of them; what has come of them does not count."""
        for activity_id in tuple(self._running):
            self._stop(activity_id)
        self._outcomes = []

    def _start(self, asked: LocalCall) -> None:
        attempt = Attempt(
            run_key=0,
            workflow_id=self._workflow_id,
            run_id=self._run_id,
            scheduled=asked.scheduled,
            scheduled_at=asked.at,
        )
        call = _Call(attempt)
        self._running[attempt.activity_id] = call
        definition = self._runner.definition(asked)
        name = f"loom-local-activity-{attempt.name}"
        call.task = self._runner.begin(call, definition, name)
        call.task.add_done_callback(lambda task: self._end(call, task))

    def _stop(self, activity_id: int) -> None:
        call = self._running.pop(activity_id)
        call.attempt.given_up = True
        if call.task is not None:
            call.task.cancel()

    def _end(self, call: _Call, task: asyncio.Task[ActivityCompleted | ActivityFailed]) -> None:
        activity_id = call.attempt.activity_id
        if self._running.get(activity_id) is not call:
            # Stopped; whatever it says now is nobody's business.
            if not task.cancelled():
                task.exception()
            return
        del self._running[activity_id]
        self._outcomes.append(_outcome(call, task))
        self._changed.set()
        self.on_outcome()


@dataclass(slots=True, eq=False)
class _Call:
    attempt: Attempt
    """The one that is running, or has run last."""
    task: asyncio.Task[ActivityCompleted | ActivityFailed] | None = None


def _outcome(
    call: _Call, task: asyncio.Task[ActivityCompleted | ActivityFailed]
) -> ActivityCompleted | ActivityFailed:
    if task.cancelled():
        error: BaseException = LoomError("The local activity cancelled its own task.")
    elif (raised := task.exception()) is not None:
        _log.error("local activity %s: internal error", call.attempt.name, exc_info=raised)
        error = raised
    else:
        return task.result()
    attempt = call.attempt
    return ActivityFailed(attempt.activity_id, attempt.number, failure_from(error))


class LocalActivities:
    """Runs the local activities of a worker's runs."""

    def __init__(self, worker: WorkerContext, execution: Execution) -> None:
        self._registry = worker.registry
        self._clock = worker.clock
        self._execution = replace(execution, on_heartbeat=lambda attempt: None)
        # They take no slots, but threads and processes are not to be had without end.
        self._places = {
            "async": asyncio.Semaphore(worker.options.concurrency),
            "thread": asyncio.Semaphore(worker.options.threads),
            "process": asyncio.Semaphore(worker.options.processes),
        }

    def of_run(self, workflow_id: WorkflowId, run_id: RunId) -> LocalCalls:
        return LocalCalls(self, workflow_id, run_id)

    def definition(self, call: LocalCall) -> ActivityDefinition:
        """What the worker was given, if it was, or else the very function that the code named.

        Raises ``LoomError`` when there is neither.
        """
        definition = self._registry.activity(call.scheduled.name) or call.activity
        if definition is None:
            raise LoomError(f"This worker has no activity {call.scheduled.name!r} to run locally.")
        return definition

    async def carry_on(
        self, calls: LocalCalls, instance: WorkflowInstance, decision: Decision, decide: Decide
    ) -> Decision:
        """Run what the code asks for, and let it go on, for as long as that takes no time worth
        mentioning and nothing else waits for the turn to be written."""
        clock = self._clock
        give_up_at = clock.now() + round(_PATIENCE * 1_000_000)
        while True:
            if not instance.is_open:
                return decision
            calls.follow(instance)
            is_awaited = calls.are_running or calls.have_ended
            others_wait = bool(decision.answers or activity_changes(decision).asked)
            if others_wait or not is_awaited:
                return decision
            await calls.wait(clock)
            outcomes = calls.take(instance.awaited_local_calls)
            if outcomes:
                at = max(clock.now(), instance.now)
                more = decide(instance, [Stamped(outcome, at) for outcome in outcomes])
                decision = _joined(decision, more)
            if not outcomes or clock.now() >= give_up_at:
                if instance.is_open:
                    calls.follow(instance)
                return decision

    def begin(
        self, call: _Call, definition: ActivityDefinition, name: str
    ) -> asyncio.Task[ActivityCompleted | ActivityFailed]:
        return self._execution.begin(self._run(call, definition), name)

    async def _run(
        self, call: _Call, definition: ActivityDefinition
    ) -> ActivityCompleted | ActivityFailed:
        """All the attempts of one call."""
        while True:
            # Those that wait to be tried again keep nobody else out.
            async with self._places[definition.kind]:
                outcome = await self._try(call.attempt, definition)
            if not isinstance(outcome, Retry):
                break
            await self._clock.wait(
                asyncio.Event(), _FOREVER, until=retry_at(outcome, self._clock.now())
            )
            attempt = call.attempt
            call.attempt = replace(
                attempt,
                number=attempt.number + 1,
                failures=attempt.failures + 1,
                timed_out=False,
            )
        assert not isinstance(outcome, Parked)  # there is no task to be parked
        return outcome

    async def _try(self, attempt: Attempt, definition: ActivityDefinition) -> AttemptOutcome:
        with self._clock.at_work():
            outcome = await self._execution.run(attempt, definition)
        return in_time(attempt, outcome, self._clock)


def _joined(first: Decision, second: Decision) -> Decision:
    """Two decisions that are written as one."""
    return replace(
        second,
        events=[*first.events, *second.events],
        logs=[*first.logs, *second.logs],
        # What came next was of the run's own making.
        taken=first.taken,
        answers=[*first.answers, *second.answers],
    )
