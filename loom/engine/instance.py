"""One run, alive: its coroutines, fed with arrivals one at a time.

The rules, on which replay rests:

1. Arrivals are the only inputs. They are delivered one by one, in order, and after each the code
   runs until it waits for something.
2. Whatever the code asks for is a command, recorded as an event at the moment of asking; its id is
   the number of its asking.
3. While a history is replayed, each command asked for is matched with the recorded one, and what
   was recorded holds: its state values, its timers' moments.
4. When the code's first task ends, the run is closed by one final command, and nothing follows it.
5. When a rule is broken the instance halts: its error is raised, its turn is void, and it never
   runs again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from loom.authoring.activity import ActivityDefinition
from loom.authoring.compiled import CompiledWorkflow
from loom.authoring.context import WorkflowContext
from loom.authoring.runtime import Runtime
from loom.engine.activity_errors import ActivityFailure, activity_error
from loom.engine.decision import Decision, LoggedLine
from loom.engine.loop import DeterministicLoop
from loom.engine.matching import Matcher, unasked
from loom.engine.signals import SignalBox
from loom.engine.timers import Timers
from loom.errors import (
    CodecError,
    NonDeterministicWorkflowError,
    PayloadError,
    StopReplay,
)
from loom.history.events import (
    FINAL_STATUS,
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    CommandEvent,
    Event,
    SignalReceived,
    Stamped,
    StateSet,
    StateUpdate,
    TimerCancelled,
    TimerFired,
    TimerStarted,
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
)
from loom.history.failures import MAX_MESSAGE, Failure, failure_from, storable
from loom.history.payloads import PayloadConverter
from loom.history.status import RunStatus
from loom.identifiers import END_OF_TIME, Micros, RunId, WorkflowId

if TYPE_CHECKING:
    from random import Random

_log = logging.getLogger("loom.workflow")


class WorkflowInstance(Runtime):
    """The live coroutines of one run, and all that they wait for."""

    def __init__(
        self,
        workflow: CompiledWorkflow,
        *,
        workflow_id: WorkflowId,
        run_id: RunId,
        queue: str,
        converter: PayloadConverter,
        random: Callable[[], Random],
    ) -> None:
        self.workflow_id = workflow_id
        self.run_id = run_id
        self._converter = converter
        self._make_random = random
        self.status = RunStatus.RUNNING
        self._workflow = workflow
        self._queue = queue
        self._loop = DeterministicLoop(self, run_id)  # type: ignore[abstract]  # it refuses the rest
        self._timers = Timers()
        self._signals = SignalBox(self._loop.create_future)
        self._activities: dict[int, asyncio.Future[bytes]] = {}
        self._last_command_id = 0
        self._context: WorkflowContext[Any, Any] | None = None
        self._main: asyncio.Task[Any] | None = None
        self._cancel_reason: str | None = None
        self._matcher: Matcher | None = None
        self._turn: list[Stamped] = []
        self._logs: list[LoggedLine] = []
        self._log_count = 0
        self._error: Exception | None = None

    # --- what the runner asks ---

    def replay_until_block(self, history: Iterable[tuple[int, Stamped]]) -> None:
        """Bring a fresh instance to where its history ends.

        Args:
            history: all of the run's events in order, each with its sequence.

        Raises:
            NonDeterministicWorkflowError: the code does not ask for what was recorded.
        """
        arrivals: list[Stamped] = []
        commands: list[tuple[int, CommandEvent]] = []
        for sequence, stamped in history:
            if isinstance(stamped.event, CommandEvent):
                commands.append((sequence, stamped.event))
            else:
                arrivals.append(stamped)
        self._matcher = matcher = Matcher(commands)
        with self._unwound_on_error():
            for arrival in arrivals:
                self._take(arrival)
            matcher.finish()
        self._matcher = None

    def activate(self, arrivals: Sequence[Stamped]) -> Decision:
        """Deliver arrivals and say what follows.

        An arrival that means nothing any more, and every one after the run's end, is left out of
        the decision. Raises whatever halted the instance; it must then be thrown away.
        """
        self._turn, self._logs = [], []
        try:
            with self._unwound_on_error():
                for arrival in arrivals:
                    if self.is_open and self._expects(arrival.event):
                        self._turn.append(arrival)
                        self._take(arrival)
        finally:
            self._pass_on_logs()
        return Decision(self._turn, self._logs, self.status, self.wake_at)

    def take_due_timers(self, now: Micros) -> list[int]:
        """The ids of timers that are due; each is given out once."""
        return self._timers.take_due(now)

    @property
    def is_open(self) -> bool:
        return self.status.is_open

    @property
    def wake_at(self) -> Micros | None:
        """When the next timer is due; ``None`` when there is none to wait for."""
        return self._timers.next_at if self.is_open else None

    def unwind(self) -> None:
        """End the coroutines where they stand; the instance is of no use after."""
        self._loop.unwind()
        # These refer back to the instance. Without circles it is freed at once when it is let go,
        # and gives the garbage collector no work.
        self._context = self._main = None

    @contextmanager
    def _unwound_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.unwind()
            raise

    # --- arrivals ---

    def _take(self, arrival: Stamped) -> None:
        self._loop.now = max(self._loop.now, arrival.at)
        _DELIVER[type(arrival.event)](self, arrival.event)
        self._loop.run_until_quiescent()
        self._raise_if_halted()
        if self.is_open and self._main is not None and self._main.done():
            with suppress(StopReplay):
                self._close(self._main)
            self._raise_if_halted()

    def _raise_if_halted(self) -> None:
        if self._error is not None:
            raise self._error

    def _expects(self, event: Event) -> bool:
        """Whether an arrival still means something to this run."""
        if isinstance(event, ActivityCompleted | ActivityFailed):
            return event.activity_id in self._activities
        if isinstance(event, TimerFired):
            return self._timers.is_running(event.timer_id)
        if isinstance(event, WorkflowCancelRequested):
            return self._cancel_reason is None
        return True

    def _on_started(self, event: WorkflowStarted) -> None:
        workflow = self._workflow
        try:
            given = self._converter.decode(event.payload, workflow.input_type)
        except CodecError:
            raise
        except PayloadError as error:
            # Started by name, from where the type was not known.
            raise PayloadError(
                f"The run's input does not fit {workflow.name!r}. {error}"
            ) from error
        self._context = WorkflowContext(self, given, workflow.state_schema)
        self._main = self._loop.start(workflow.execute(self._context))

    def _on_activity_completed(self, event: ActivityCompleted) -> None:
        self._check_asked(event, event.activity_id)
        future = self._activities.pop(event.activity_id, None)
        if future is not None and not future.done():
            future.set_result(event.payload)

    def _on_activity_failed(self, event: ActivityFailed) -> None:
        self._check_asked(event, event.activity_id)
        future = self._activities.pop(event.activity_id, None)
        if future is not None and not future.done():
            future.set_exception(ActivityFailure(event))

    def _on_timer_fired(self, event: TimerFired) -> None:
        self._check_asked(event, event.timer_id)
        self._timers.fire(event.timer_id)

    def _check_asked(self, answer: Event, command_id: int) -> None:
        if command_id > self._last_command_id:
            raise unasked(answer)

    def _on_signal(self, event: SignalReceived) -> None:
        self._signals.put(event.name, event.payload)

    def _on_cancel(self, event: WorkflowCancelRequested) -> None:
        if self._cancel_reason is None and self._main is not None:
            self._cancel_reason = event.reason
            self._main.cancel(event.reason or None)

    def _on_terminated(self, event: WorkflowTerminated) -> None:
        self.status = RunStatus.TERMINATED
        self.unwind()

    # --- commands ---

    @cached_property
    def random(self) -> Random:
        return self._make_random()

    @property
    def is_replaying(self) -> bool:
        return self._matcher is not None

    @property
    def now(self) -> Micros:
        return self._loop.now

    async def run_activity(self, activity: ActivityDefinition, arguments: Mapping[str, Any]) -> Any:
        payload = self.encode(arguments, activity.arguments_type)
        activity_id = self._next_command_id()
        scheduled = ActivityScheduled(activity_id, activity.name, self._queue, payload)
        result = await self.replay_activity(scheduled)
        return self.decode(result, activity.result_type)

    async def replay_activity(self, scheduled: ActivityScheduled) -> bytes:
        """Ask for an activity, or match it with the one that history holds, and await its result.

        Raises ``ActivityFailedError`` when it fails for good.
        """
        self._record(scheduled)
        activity_id = scheduled.activity_id
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._activities[activity_id] = future
        try:
            return await future
        except ActivityFailure as failure:
            raise activity_error(scheduled.name, failure.event) from None
        except asyncio.CancelledError:
            # Only while it is still waited for: a result that has come cannot be called off.
            if self._activities.pop(activity_id, None) is not None:
                self._record(ActivityCancelRequested(activity_id))
            raise

    async def sleep_until(self, moment: Micros) -> None:
        if moment <= self.now:
            await asyncio.sleep(0)
            return
        future = self._loop.create_future()
        timer_id = self.start_timer(moment, lambda: _wake(future))
        try:
            await future
        except asyncio.CancelledError:
            self.cancel_timer(timer_id)
            raise

    def start_timer(self, fire_at: Micros, callback: Callable[[], object]) -> int:
        fire_at = min(fire_at, END_OF_TIME)
        recorded = self._record(TimerStarted(self._next_command_id(), fire_at))
        self._timers.start(recorded.timer_id, recorded.fire_at, callback)
        return recorded.timer_id

    def cancel_timer(self, timer_id: int) -> None:
        if self._timers.cancel(timer_id):
            self._record(TimerCancelled(timer_id))

    async def receive_signal(self, name: str) -> bytes:
        return await self._signals.get(name)

    def record_state[E: (StateSet, StateUpdate)](self, change: E) -> E:
        return self._record(change)

    def log(self, level: int, text: Callable[[], str]) -> None:
        self._log_count += 1
        if self.is_replaying or self._loop.halted:
            return
        message = storable(text(), MAX_MESSAGE)
        self._logs.append(LoggedLine(self._log_count, self.now, level, message))

    def _pass_on_logs(self) -> None:
        # After the turn, where no handler can run on the workflow's loop or raise into its code.
        extra = {"workflow_id": self.workflow_id, "run_id": self.run_id}
        for line in self._logs:
            with suppress(Exception):
                _log.log(line.level, "%s", line.message, extra=extra)

    def _next_command_id(self) -> int:
        self._last_command_id += 1
        return self._last_command_id

    def _record[C: CommandEvent](self, command: C) -> C:
        """Put a command into the turn; while replaying, give back the one that history holds."""
        if self._loop.halted:
            # Code that is being unwound. What it asks for is dropped and never answered: raising
            # instead could spin for ever in a loop that swallows every exception.
            return command
        if self._matcher is None:
            self._turn.append(Stamped(command, self.now))
            return command
        try:
            return self._matcher.match(command)
        except NonDeterministicWorkflowError as error:
            raise self._halt(error) from error

    def encode(self, value: object, declared: Any) -> bytes:
        try:
            return self._converter.encode(value, declared)
        except CodecError as error:
            # The deployment's fault, not the code's: the run must outlive it.
            raise self._halt(error) from error

    def decode(self, payload: bytes, declared: Any) -> Any:
        try:
            return self._converter.decode(payload, declared)
        except CodecError as error:
            raise self._halt(error) from error

    def _halt(self, error: Exception) -> StopReplay:
        """Stop for good, for this reason; what is returned ends the code that is running."""
        self._error = error
        self._loop.halted = True
        return StopReplay()

    # --- the end ---

    def _close(self, main: asyncio.Task[Any]) -> None:
        final = self._final_event(main)
        if self._matcher is not None:
            final = self._matcher.match(final, in_code=False)
        else:
            self._turn.append(Stamped(final, self.now))
        self.status = FINAL_STATUS[type(final)]
        self.unwind()

    def _final_event(self, main: asyncio.Task[Any]) -> CommandEvent:
        if main.cancelled():
            if self._cancel_reason is not None:
                return WorkflowCancelled(self._cancel_reason)
            return WorkflowFailed(
                Failure("CancelledError", "The workflow's code cancelled itself, unasked.")
            )
        error = main.exception()
        if error is None:
            try:
                return WorkflowCompleted(self._result_payload(main.result()))
            except Exception as unstorable:
                error = unstorable
        return WorkflowFailed(failure_from(error))

    def _result_payload(self, returned: Any) -> bytes:
        if self._workflow.returns_state and self._context is not None:
            return self._context.state.result()
        return self.encode(returned, self._workflow.result_type)


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


_DELIVER: dict[type[Event], Callable[[WorkflowInstance, Any], None]] = {
    WorkflowStarted: WorkflowInstance._on_started,
    ActivityCompleted: WorkflowInstance._on_activity_completed,
    ActivityFailed: WorkflowInstance._on_activity_failed,
    TimerFired: WorkflowInstance._on_timer_fired,
    SignalReceived: WorkflowInstance._on_signal,
    WorkflowCancelRequested: WorkflowInstance._on_cancel,
    WorkflowTerminated: WorkflowInstance._on_terminated,
}
"""How each kind of arrival is delivered."""
