"""Plays the runner for one run, without a store, a clock or a thread, so that tests read well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from loom.authoring.activity import activity_definition
from loom.authoring.compiled import compiled_workflow
from loom.authoring.forbidden import GuardMode
from loom.engine.decision import Decision, LoggedLine
from loom.engine.flags import NEW_RUN_FLAGS
from loom.engine.instance import WorkflowInstance
from loom.history.events import (
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ArrivalEvent,
    ChildCompleted,
    ChildFailed,
    ChildStarted,
    CommandEvent,
    Event,
    SignalReceived,
    Stamped,
    UpdateAnswer,
    UpdateRequested,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
)
from loom.history.failures import Failure, FailureKind, failure_from
from loom.history.payloads import PayloadConverter
from loom.history.status import RunStatus
from loom.identifiers import MICROS_PER_SECOND, Micros

type Play = Callable[..., SimulatedRun]
"""The fixture ``play``: starts a run of a workflow with an input."""

EPOCH: Micros = 1_700_000_000 * MICROS_PER_SECOND
"""When every run of these tests starts."""


def new_instance(
    workflow: type, converter: PayloadConverter | None = None, guards: GuardMode = "error"
) -> WorkflowInstance:
    return WorkflowInstance(
        compiled_workflow(workflow),
        workflow_id="the-workflow",
        run_id="the-run",
        queue="default",
        converter=converter or PayloadConverter(),
        random=lambda: Random("the-run"),
        guards=guards,
    )


def replayed(
    workflow: type,
    history: Sequence[Stamped],
    converter: PayloadConverter | None = None,
    guards: GuardMode = "error",
) -> WorkflowInstance:
    """A fresh instance, brought to where a history ends."""
    instance = new_instance(workflow, converter, guards)
    instance.replay_until_block(enumerate(history, start=1))
    return instance


@dataclass
class SimulatedRun:
    """One run: what reaches it, what it answers, and the history that comes of it."""

    workflow: type
    converter: PayloadConverter = field(default_factory=PayloadConverter)
    now: Micros = EPOCH
    flags: tuple[str, ...] = NEW_RUN_FLAGS
    guards: GuardMode = "error"
    history: list[Stamped] = field(default_factory=list)
    logs: list[LoggedLine] = field(default_factory=list)
    answers: list[UpdateAnswer] = field(default_factory=list)
    """What the senders of updates were told."""
    turns: list[int] = field(default_factory=list)
    """The length of the history at the end of each turn."""

    def __post_init__(self) -> None:
        self.instance = new_instance(self.workflow, self.converter, self.guards)

    # --- what reaches the run ---

    def start(self, input: Any = None, **attributes: Any) -> SimulatedRun:
        """Start the run; ``attributes`` are more of what the event of its start says."""
        compiled = compiled_workflow(self.workflow)
        payload = self.converter.encode(input, compiled.input_type)
        started = WorkflowStarted(compiled.name, compiled.version, payload, self.flags)
        self.deliver(replace(started, **attributes))
        return self

    def deliver(self, *events: ArrivalEvent | UpdateRequested) -> Decision:
        """All of them in one turn."""
        decision = self.instance.activate([Stamped(event, self.now) for event in events])
        self.history.extend(decision.events)
        self.logs.extend(decision.logs)
        self.answers.extend(decision.answers)
        self.turns.append(len(self.history))
        return decision

    def completed(self, name: str, value: Any = None) -> ActivityCompleted:
        """The completion of the oldest activity of that name that is waited for."""
        return ActivityCompleted(self._oldest(name), 1, self.converter.encode(value))

    def failed(
        self,
        name: str,
        error: BaseException | None = None,
        *,
        attempt: int = 1,
        kind: FailureKind = FailureKind.ERROR,
    ) -> ActivityFailed:
        """The failure of the oldest activity of that name that is waited for."""
        return ActivityFailed(
            self._oldest(name), attempt, failure_from(error or ValueError("no"), kind)
        )

    def child_completed(self, name: str, value: Any = None) -> ChildCompleted:
        """The end of the oldest child of that name that is open."""
        child = self._oldest_child(name)
        return ChildCompleted(child.child_id, child.run_id, self.converter.encode(value))

    def child_failed(
        self, name: str, status: RunStatus | None = RunStatus.FAILED, why: str = "no"
    ) -> ChildFailed:
        child = self._oldest_child(name)
        return ChildFailed(child.child_id, child.run_id, Failure("ValueError", why), status)

    def complete(self, name: str, value: Any = None) -> None:
        self.deliver(self.completed(name, value))

    def fail(self, name: str, error: BaseException | None = None) -> None:
        self.deliver(self.failed(name, error))

    def signal(self, name: str, payload: Any = None) -> None:
        self.deliver(self.signalled(name, payload))

    def signalled(self, name: str, payload: Any = None) -> SignalReceived:
        return SignalReceived(name, self.converter.encode(payload))

    def update(self, name: str, payload: Any = None, *, update_id: str | None = None) -> None:
        self.deliver(self.requested(name, payload, update_id=update_id))

    def requested(
        self, name: str, payload: Any = None, *, update_id: str | None = None
    ) -> UpdateRequested:
        """An update, by default with its name as its id."""
        return UpdateRequested(update_id or name, name, self.converter.encode(payload))

    def cancel(self, reason: str = "") -> None:
        self.deliver(WorkflowCancelRequested(reason))

    def terminate(self, reason: str = "") -> None:
        self.deliver(WorkflowTerminated(reason))

    def advance(self, seconds: float) -> None:
        """Let time pass; each timer fires in a turn of its own, when it is due."""
        end = self.now + round(seconds * MICROS_PER_SECOND)
        while self.instance.wake_at is not None and self.instance.wake_at <= end:
            self.now = max(self.now, self.instance.wake_at)
            for due in self.instance.take_due(self.now):
                self.deliver(due)
        self.now = end

    def run(self, *activities: Callable[..., Any]) -> SimulatedRun:
        """Answer activities by calling the functions, and fire timers, until nothing is left."""
        by_name = {activity_definition(f).name: f for f in activities}
        while self.instance.is_open:
            if self.pending:
                self._answer(self.pending[0], by_name)
            elif self.instance.wake_at is not None:
                self.advance((self.instance.wake_at - self.now) / MICROS_PER_SECOND)
            else:
                break
        return self

    def _answer(
        self, scheduled: ActivityScheduled, by_name: Mapping[str, Callable[..., Any]]
    ) -> None:
        definition = activity_definition(by_name[scheduled.name])
        arguments = self.converter.decode(scheduled.payload, definition.arguments_type)
        try:
            value = definition.call(arguments)
        except Exception as error:
            self.deliver(ActivityFailed(scheduled.activity_id, 1, failure_from(error)))
        else:
            payload = self.converter.encode(value, definition.result_type)
            self.deliver(ActivityCompleted(scheduled.activity_id, 1, payload))

    # --- what the run answers ---

    @property
    def pending(self) -> list[ActivityScheduled]:
        """The activities that are waited for, in the order of asking."""
        events = [stamped.event for stamped in self.history]
        over = {
            event.activity_id
            for event in events
            if isinstance(event, ActivityCompleted | ActivityFailed | ActivityCancelRequested)
        }
        return [
            event
            for event in events
            if isinstance(event, ActivityScheduled) and event.activity_id not in over
        ]

    @property
    def children(self) -> list[ChildStarted]:
        """The children that are open, in the order of asking."""
        over = {e.run_id for e in self.events if isinstance(e, ChildCompleted | ChildFailed)}
        asked = (event for event in self.events if isinstance(event, ChildStarted))
        return [event for event in asked if event.run_id not in over]

    def _oldest_child(self, name: str) -> ChildStarted:
        for child in self.children:
            if child.name == name:
                return child
        raise AssertionError(f"No child {name!r} is open, only {self.children}.")

    def _oldest(self, name: str) -> int:
        for scheduled in self.pending:
            if scheduled.name == name:
                return scheduled.activity_id
        raise AssertionError(f"No activity {name!r} is waited for, only {self.pending}.")

    @property
    def status(self) -> RunStatus:
        return self.instance.status

    @property
    def events(self) -> list[Event]:
        return [stamped.event for stamped in self.history]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def commands(self) -> list[CommandEvent]:
        return [event for event in self.events if isinstance(event, CommandEvent)]

    @property
    def result(self) -> Any:
        """What the run returned; fails the test when it did not complete."""
        last = self.events[-1]
        if isinstance(last, WorkflowFailed):
            raise AssertionError(last.failure.traceback or last.failure.message)
        assert isinstance(last, WorkflowCompleted), self.types
        return self.converter.decode(last.payload, compiled_workflow(self.workflow).result_type)

    @property
    def failure(self) -> Failure:
        """Why the run failed; fails the test when it did not."""
        last = self.events[-1]
        assert isinstance(last, WorkflowFailed), self.types
        return last.failure

    # --- replay ---

    def replay(self) -> WorkflowInstance:
        """A fresh instance, brought to where this run is."""
        return replayed(self.workflow, self.history, self.converter, self.guards)

    def check_replay(self) -> None:
        """Replay asks for exactly what was recorded, and ends where the live instance is."""
        again = self.replay()
        try:
            assert (again.status, again.wake_at) == (self.instance.status, self.instance.wake_at)
        finally:
            again.unwind()

    def close(self) -> None:
        self.instance.unwind()
