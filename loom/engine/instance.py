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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from loom.authoring.context import WorkflowContext
from loom.engine.continuation import ContinueAsNew, continuation_in
from loom.engine.decision import Carried, Decision, LocalCall, Relatives
from loom.engine.flags import known_flags
from loom.engine.queries import answer, best_copy, copied
from loom.engine.retry import WorkflowRetry
from loom.engine.run_runtime import RunRuntime
from loom.errors import LoomError, StopReplay
from loom.history.events import (
    FINAL_STATUS,
    ActivityCompleted,
    ActivityFailed,
    ArrivalEvent,
    ChildCompleted,
    ChildFailed,
    CommandEvent,
    Event,
    SignalReceived,
    Stamped,
    StateCarried,
    TimerFired,
    UpdateAccepted,
    UpdateRequested,
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from loom.history.failures import Failure, failure_from
from loom.history.status import RunStatus
from loom.identifiers import Micros, derived_id

if TYPE_CHECKING:
    pass


class WorkflowInstance(RunRuntime):
    """The live coroutines of one run, and all that they wait for."""

    __slots__ = ()

    # --- what the runner asks ---

    def replay_until_block(
        self,
        history: Iterable[tuple[int, Stamped]],
        *,
        on_arrival: Callable[[int, Stamped], None] | None = None,
        for_reading: bool = False,
    ) -> None:
        """Bring a fresh instance to where its history ends.

        Args:
            history: all of the run's events in order, each with its sequence.
            on_arrival: told of each arrival, and its sequence, before it is delivered.
            for_reading: keep what the code has made when the run is closed, to be asked about it.

        Raises:
            NonDeterministicWorkflowError: the code does not ask for what was recorded.
        """
        self._is_for_reading = for_reading
        arrivals: list[tuple[int, Stamped]] = []
        commands: list[tuple[int, CommandEvent]] = []
        for sequence, stamped in history:
            if isinstance(stamped.event, CommandEvent):
                commands.append((sequence, stamped.event))
            else:
                arrivals.append((sequence, stamped))
        # Ended from outside before its code had done anything that is recorded: perhaps none ran.
        codeless = not commands and not for_reading and _ends_at_once([s for _, s in arrivals])
        try:
            with self._recorder.replaying(commands):
                for sequence, arrival in arrivals:
                    if on_arrival is not None:
                        on_arrival(sequence, arrival)
                    if not codeless or not isinstance(arrival.event, WorkflowStarted):
                        self._take(arrival)
        except BaseException:
            self.unwind()
            raise

    def activate(self, arrivals: Sequence[Stamped]) -> Decision:
        """Deliver arrivals and say what follows.

        An arrival that means nothing any more, and every one after the run's end, is left out of
        the decision. Raises whatever halted the instance; it must then be thrown away, and takes
        no more turns.
        """
        if self.is_void:
            raise LoomError("This instance has been halted, and a turn of it would be void.")
        self._recorder.turn = turn = []
        self._log.lines = []
        taken = 0
        try:
            for sent in arrivals:
                if not self.is_open:
                    break
                taken += 1
                arrival = self._admitted(sent)
                if arrival is not None and self._expects(arrival.event):
                    turn.append(arrival)
                    self._take(arrival)
        except BaseException:
            self.unwind()
            raise
        finally:
            self._log.pass_on()
        children = () if self.is_open else self._children.open
        relatives = Relatives(self.workflow_id, self.run_id, self._parent, children, self._carried)
        answers = self._updates.take_answers()
        return Decision(turn, self._log.lines, self.status, self.wake_at, relatives, taken, answers)

    @property
    def is_void(self) -> bool:
        """Whether it has been halted before the run's end: whatever it did would not count."""
        return self._loop.halted and self.is_open

    def take_due(self, now: Micros) -> list[ArrivalEvent]:
        """What has come about because its moment has passed; each is given out once.

        Whether activities have begun is not known here: a deadline that was kept all the same is
        not to be delivered.
        """
        limits, ended = self._limits, []
        if limits is not None and limits.deadline <= now:
            # What was due after the run's time was up comes too late, whoever looks how late.
            now = limits.deadline
            ended = [WorkflowTimedOut(limits.is_of_chain)]
        timers = [TimerFired(timer_id) for timer_id in self._timers.take_due(now)]
        return [*timers, *self._activities.take_due(now), *ended]

    def activity_begun(self, activity_id: int) -> None:
        """A worker has begun with an activity that had to be begun by some moment."""
        self._activities.begun(activity_id)

    def answer_query(self, name: str, payload: bytes) -> bytes | None:
        """What the run's code answers to a query; ``None`` when it can only be asked in an instance
        of its own, since what it has made cannot be copied.

        Raises ``QueryError`` when nobody answers it, and ``QueryFailedError`` when whoever does
        raises or tries to change something. When it has reached what the code waits for, past the
        copy, the instance is void.
        """
        handlers, workflow = self._workflow.handlers, self._handlers.workflow
        if not self._is_for_reading:
            workflow = self._copied(workflow)
        if workflow is None:
            return None
        self._log.lines = []
        try:
            with self._recorder.reading(f"The query {name!r}"):
                return answer(handlers, workflow, name, payload, self._converter)
        finally:
            self._log.pass_on()
            if self._recorder.disturbed:
                self.unwind()

    def _copied(self, workflow: Any) -> Any:
        """The object of the run's code as a copy, whose changes are of no consequence."""
        return copied(workflow, self._shared)

    def _best_copy(self, workflow: Any) -> Any:
        return best_copy(workflow, self._shared)

    @property
    def _shared(self) -> Sequence[object]:
        """What a copy of the code's object refers to as it is."""
        context = self._context
        of_context = () if context is None else (context, context.state, context.logger)
        return (self, self._loop, *of_context)

    @property
    def awaited_local_calls(self) -> Mapping[int, LocalCall]:
        """The local activities without an outcome, by id."""
        return self._activities.local

    @property
    def has_local_calls(self) -> bool:
        """Whether there are local activities that nobody has begun with."""
        return self.is_open and self._activities.has_local_to_begin

    def take_local_calls(self) -> list[LocalCall]:
        """Local activities that nobody has begun with; each is given out once."""
        return self._activities.take_local()

    @property
    def awaited_activities(self) -> list[int]:
        """The ids of activities without an outcome, also of a run that has closed without it."""
        return self._activities.awaited

    @property
    def replay_position(self) -> tuple[Micros, int] | None:
        """How far a replay has come, for whoever watches it from another thread; ``None`` when
        there is none."""
        return (self._loop.now, self._recorder.length) if self.is_replaying else None

    @property
    def wake_at(self) -> Micros | None:
        """When the next timer or deadline is due; ``None`` when there is none to wait for."""
        if not self.is_open:
            return None
        timer, deadline, limits = self._timers.next_at, self._activities.next_deadline, self._limits
        if timer is None and deadline is None and limits is None:
            # As of most runs, which are asked several times in a turn.
            return None
        moments = (timer, deadline, None if limits is None else limits.deadline)
        return min([moment for moment in moments if moment is not None], default=None)

    @property
    def coroutines(self) -> list[Any]:
        """The code's coroutines as they stand, for people who ask where it waits."""
        return self._loop.coroutines

    def unwind(self) -> None:
        """End the coroutines where they stand; the instance is of no use after."""
        self._loop.unwind()
        # These refer back to the instance. Without circles it is freed at once when it is let go,
        # and gives the garbage collector no work.
        self._context = self._main = self._guard = None
        self._handlers.let_go()

    # --- arrivals ---

    def _admitted(self, sent: Stamped) -> Stamped | None:
        """What is to be taken of something that was sent: a rejected update is not."""
        request = sent.event
        if not isinstance(request, UpdateRequested):
            return sent
        with suppress(StopReplay):
            if self._updates.admit(request, self._best_copy) and self.is_open:
                accepted = UpdateAccepted(request.update_id, request.name, request.payload)
                return Stamped(accepted, sent.at, sent.message_id)
        self._recorder.raise_if_halted()
        return None

    def _take(self, arrival: Stamped) -> None:
        self._loop.now = max(self._loop.now, arrival.at)
        self._recorder.length += 1
        try:
            _DELIVER[type(arrival.event)](self, arrival.event)
            self._loop.run_until_quiescent()
            self._recorder.raise_if_halted()
            main = self._main
            if self.is_open and main is not None and main.done() and self._handlers.may_close:
                self._close(main)
        except StopReplay:
            # As when an input cannot be read for want of a codec.
            self._recorder.raise_if_halted()

    def _expects(self, event: Event) -> bool:
        """Whether an arrival still means something to this run."""
        expects = _EXPECTS.get(type(event))
        return expects is None or expects(self, event)

    def _on_started(self, event: WorkflowStarted) -> None:
        workflow = self._workflow
        self._flags = known_flags(event.flags)
        self._labels.begin(event)
        self._parent = event.parent
        self._limits = event.limits
        self._retry = WorkflowRetry(event.retry, event.attempt, event.limits)
        self._is_early = event.start_at is not None and self._loop.now < event.start_at
        self._children.inherit(event.children)
        self._input = event.payload
        # Where it was started by name, the type was not known.
        given = self._recorder.decode(
            event.payload, workflow.input_type, "The input of workflow", workflow.name
        )
        context: WorkflowContext[Any, Any] = WorkflowContext(self, given, workflow.state_schema)
        self._context = context
        if not event.carries_state and not self._is_early:
            self._begin(context)

    def _on_state_carried(self, event: StateCarried) -> None:
        if self._context is not None:
            self._context.state.take_over(event.payload)
            self._begin(self._context)

    def _begin(self, context: WorkflowContext[Any, Any]) -> None:
        self._main = self._loop.start(self._run_code(context))
        self._handlers.watch(self._main)

    async def _run_code(self, context: WorkflowContext[Any, Any]) -> Any:
        self._handlers.workflow = workflow = self._workflow.new_object(context)
        return await self._workflow.execute(workflow, context)

    def _on_cancel(self, event: WorkflowCancelRequested) -> None:
        if self._is_early:
            self._recorder.record(WorkflowCancelled(event.reason), in_code=False)
            self._end(RunStatus.CANCELLED)
        elif self._cancel_reason is None and self._main is not None:
            self._cancel_reason = event.reason
            if not self._main.cancel(event.reason or None):
                self._is_cancelled_late = True
                self._handlers.cancel()

    def _on_signal(self, event: SignalReceived) -> None:
        if not self._handlers.take_signal(event):
            self._signals.put(event.name, event.payload)

    def _on_terminated(self, event: WorkflowTerminated) -> None:
        self._end(RunStatus.TERMINATED)

    def _on_timed_out(self, event: WorkflowTimedOut) -> None:
        self._end(RunStatus.TIMED_OUT)

    # --- the end ---

    def _close(self, main: asyncio.Task[Any]) -> None:
        final = self._recorder.record(self._final_event(main), in_code=False)
        self._end(FINAL_STATUS[type(final)])

    def _end(self, status: RunStatus) -> None:
        self.status, self.is_open = status, False
        self._updates.abandon()
        if not self._is_for_reading:
            self.unwind()

    def _hand_on(self, continuation: ContinueAsNew) -> None:
        """Put aside what the run that continues this one begins with."""
        state = None
        if continuation.keeps_state and self._context is not None:
            state = self._context.state.carried()
        labels = self._labels
        self._carried = Carried(
            state, self._signals.unread, labels.tags, labels.memo, self._limits, self._retry.terms
        )

    def _final_event(self, main: asyncio.Task[Any]) -> CommandEvent:
        if self._handlers.error is not None:
            self._check_end(self._handlers.error)
            return self._failed(self._handlers.error)
        if main.cancelled():
            if self._cancel_reason is not None:
                return WorkflowCancelled(self._cancel_reason)
            itself = Failure("CancelledError", "The workflow's code cancelled itself, unasked.")
            return self._failed(asyncio.CancelledError(), itself)
        error = main.exception()
        if continuation := continuation_in(error):
            if self._is_cancelled_late and self._cancel_reason is not None:
                # It was to go on in another run, and was asked to end while handlers finished.
                return WorkflowCancelled(self._cancel_reason)
            self._hand_on(continuation)
            return continuation.event
        if error is None:
            try:
                return WorkflowCompleted(self._result_payload(main.result()))
            except Exception as unstorable:
                error = unstorable
        self._check_end(error)
        return self._failed(error)

    def _failed(self, error: BaseException, failure: Failure | None = None) -> WorkflowFailed:
        """The run's end by an error, after which it may be tried again."""
        told = failure or failure_from(error)
        # Whoever asked for its end does not want it again.
        if self._cancel_reason is not None:
            return WorkflowFailed(told)
        # By numbers of its own, so that the code's are what they would be without it.
        retry_at = self._retry.next_at(error, self.now, lambda: self._make_random().random())
        if retry_at is None:
            return WorkflowFailed(told)
        run_id, code, labels = derived_id(self.run_id, "retried"), self._workflow, self._labels
        self._carried = Carried(
            signals=self._signals.unread,
            tags=labels.tags,
            memo=labels.memo,
            limits=self._limits,
            retry=self._retry.terms,
            again=WorkflowContinuedAsNew(run_id, code.name, code.version, self._queue, self._input),
            attempt=self._retry.attempt + 1,
        )
        return WorkflowFailed(told, run_id, retry_at)

    def _check_end(self, error: BaseException) -> None:
        # Not on replay: older histories may have ended with it.
        if self._guard is not None and not self.is_replaying:
            self._guard.on_end(error)

    def _result_payload(self, returned: Any) -> bytes:
        if self._workflow.returns_state and self._context is not None:
            return self._context.state.result()
        return self.encode(
            returned, self._workflow.result_type, "The result of workflow", self._workflow.name
        )


def _ends_at_once(arrivals: Sequence[Stamped]) -> bool:
    return len(arrivals) == 2 and isinstance(
        arrivals[1].event, WorkflowTerminated | WorkflowTimedOut
    )


_DELIVER: dict[type[Event], Callable[[WorkflowInstance, Any], None]] = {
    WorkflowStarted: WorkflowInstance._on_started,
    ActivityCompleted: lambda run, event: run._activities.on_completed(event),
    ActivityFailed: lambda run, event: run._activities.on_failed(event),
    StateCarried: WorkflowInstance._on_state_carried,
    ChildCompleted: lambda run, event: run._children.on_completed(event),
    ChildFailed: lambda run, event: run._children.on_failed(event),
    TimerFired: lambda run, event: run._timers.on_fired(event),
    SignalReceived: WorkflowInstance._on_signal,
    UpdateAccepted: lambda run, event: run._updates.take(event),
    WorkflowCancelRequested: WorkflowInstance._on_cancel,
    WorkflowTerminated: WorkflowInstance._on_terminated,
    WorkflowTimedOut: WorkflowInstance._on_timed_out,
}
"""How each kind of arrival is delivered."""

_EXPECTS: dict[type[Event], Callable[[WorkflowInstance, Any], bool]] = {
    ActivityCompleted: lambda run, event: run._activities.expects(event),
    ActivityFailed: lambda run, event: run._activities.expects(event),
    ChildCompleted: lambda run, event: run._children.expects(event),
    ChildFailed: lambda run, event: run._children.expects(event),
    TimerFired: lambda run, event: run._timers.expects(event),
    WorkflowCancelRequested: lambda run, event: run._cancel_reason is None,
}
"""Of which kinds some mean nothing any more."""
