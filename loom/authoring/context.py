"""``WorkflowContext``: everything that a workflow's code may ask for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from inspect import markcoroutinefunction
from sys import _getframe
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast, overload

from loom.authoring.activity import activity_definition
from loom.authoring.asking import asks
from loom.authoring.immutable import Tags, fixed, frozen
from loom.authoring.logger import WorkflowLogger
from loom.authoring.names import check_name, returned_type
from loom.authoring.other_runs import OtherRuns
from loom.authoring.runtime import Runtime
from loom.authoring.saga import OnError, Saga, refuse_in_sagas
from loom.authoring.state import StateSchema, WorkflowState
from loom.authoring.waiting import check_condition, described, holds
from loom.durations import Duration, micros, shown, timeout_seconds
from loom.given import check_id
from loom.history.tags import TagValue, decode_tag, encode_changes
from loom.identifiers import Micros, RunId, WorkflowId

if TYPE_CHECKING:
    from random import Random

    from loom.authoring.workflow import Given, Workflow


class WorkflowContext[InputT, StateT](OtherRuns):
    """One run, as its own code sees it.

    Besides what is here, ``asyncio.gather``, ``TaskGroup``, ``asyncio.sleep``, ``asyncio.timeout``,
    queues, locks and events work as always, deterministically and durably. For ``asyncio.wait`` and
    ``as_completed``, which know no order, there are ``loom.wait`` and ``loom.as_completed``.

    Attributes:
        state: the run's durable variables.
        logger: silent on replay.
    """

    def __init__(self, runtime: Runtime, input: InputT, schema: StateSchema) -> None:
        self._runtime = runtime
        self._input = frozen(input)
        self.state: WorkflowState[StateT] = WorkflowState(schema, runtime)
        self.logger = WorkflowLogger(runtime)
        self._sagas: set[Saga] = set()

    @property
    def input(self) -> InputT:
        """What the run was started with. Dicts and lists refuse to change; of a dataclass or model
        everybody gets a copy."""
        return cast(InputT, fixed(self._input))

    @property
    def workflow_id(self) -> WorkflowId:
        return self._runtime.workflow_id

    @property
    def run_id(self) -> RunId:
        return self._runtime.run_id

    @property
    def memo(self) -> Any:
        """What the run was started with as ``memo``, as JSON has it; a copy each time."""
        memo = self._runtime.memo
        return None if memo is None else self._runtime.decode(memo, Any)

    @property
    def tags(self) -> Mapping[str, TagValue]:
        """The run's tags as they stand, to be read; ``set_tags`` changes them."""
        return Tags({name: decode_tag(text) for name, text in self._runtime.tags.items()})

    def set_tags(self, tags: Mapping[str, TagValue | None]) -> None:
        """Give tags of the run new values, by which it is found from now on.

        Other tags stay as they are; ``None`` takes one away. Raises ``PayloadError`` for a name or
        value that cannot be a tag.
        """
        self._runtime.set_tags(encode_changes(tags))

    @property
    def is_replaying(self) -> bool:
        """Whether the code is being brought back to where it was, rather than moving on.

        For diagnostics alone: code that decides by it is not deterministic.
        """
        return self._runtime.is_replaying

    @property
    def history_length(self) -> int:
        """How many events the run's history has so far; the same on replay. The markers of patches
        are not counted."""
        return self._runtime.history_length

    @property
    def should_continue_as_new(self) -> bool:
        """Whether the history is so long, 10,000 events, that the run had better go on as a new
        one: what is replayed after a restart grows with it."""
        return self.history_length >= _LONG_HISTORY

    @property
    def cancel_requested(self) -> bool:
        """Whether the run has been asked to end; its code may be cleaning up since."""
        return self._runtime.cancel_reason is not None

    @property
    def cancel_reason(self) -> str | None:
        """Why the run is to end, perhaps empty; ``None`` while nobody has asked for that."""
        return self._runtime.cancel_reason

    @property
    def handlers_finished(self) -> bool:
        """Whether no handler of a signal or an update is running; in a handler there is one."""
        return self._runtime.handlers_finished

    @overload
    async def activity[**P, R](
        self, activity: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @overload
    async def activity[**P, R](
        self, activity: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @markcoroutinefunction
    def activity(self, activity: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run an activity and return its result, which is recorded and never computed again.

        Cancelling the wait cancels the activity.

        Raises:
            ActivityFailedError: it failed for good, after whatever retries its policy allows.
            PayloadError: the arguments do not fit its parameters; nothing was scheduled.
            DefinitionError: the function was not decorated with ``@activity``.
        """
        held: list[object] = []
        asked = self._run_activity(held, activity, args, kwargs)
        held.append(self._runtime.track("ctx.activity()", asked, _getframe(1)))
        return asked

    @overload
    async def local_activity[**P, R](
        self, activity: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @overload
    async def local_activity[**P, R](
        self, activity: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @markcoroutinefunction
    def local_activity(self, activity: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a short activity right here, in the worker that has the run, without a task of its
        own: several calls may share one commit.

        It is run before anything is written: when the worker dies before the commit it is run
        again, and what asked for it with it. So it should be cheap, and safe to repeat. Retries
        wait here too, and no other worker or queue takes it over. Otherwise as ``activity``.
        """
        held: list[object] = []
        asked = self._run_activity(held, activity, args, kwargs, local=True)
        held.append(self._runtime.track("ctx.local_activity()", asked, _getframe(1)))
        return asked

    async def _run_activity(
        self,
        held: list[object],
        activity: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        local: bool = False,
    ) -> Any:
        # As `asks` has it, without one more coroutine: there are no calls that are as frequent.
        held.clear()
        definition = activity_definition(activity)
        arguments = definition.bind(args, kwargs)
        return await self._runtime.run_activity(definition, arguments, local=local)

    # What Python's own warning says was never awaited.
    _run_activity.__qualname__ = "WorkflowContext.activity"

    @overload
    def continue_as_new(
        self, input: InputT = ..., *, queue: str | None = None, keep_state: bool = True
    ) -> NoReturn: ...

    @overload
    def continue_as_new[I](
        self,
        input: Given[I] = ...,
        *,
        workflow: type[Workflow[I, Any]],
        queue: str | None = None,
    ) -> NoReturn: ...

    def continue_as_new(
        self,
        input: Any = ...,
        *,
        workflow: Any = None,
        queue: str | None = None,
        keep_state: bool = True,
    ) -> NoReturn:
        """End this run and go on in a new one of the same workflow id, with an empty history.

        The new run has the state, the tags and the memo, the signals that were not asked for yet,
        and what is waiting in the inbox. Who waits for the result waits for the last run's. Open
        children stay with it: they end with it, by their policies. Handlers that are running
        finish first; activities and timers do not.

        Never returns: it raises what no ``except Exception`` catches. Let it through, and call it
        where nothing is to be undone.

        Args:
            input: of the new run; by default what this one was started with.
            workflow: another workflow to go on with, without the state.
            queue: which workers may take it; by default this run's.
            keep_state: whether ``ctx.state`` begins as it is now.

        Raises:
            PayloadError: the input does not fit; the run goes on.
            DefinitionError: it was called in a handler, or inside of a saga that has something to
                undo.
        """
        refuse_in_sagas(self._sagas)
        if queue is not None:
            check_id("queue", queue)
        self._runtime.continue_as_new(
            workflow, input, queue=queue, keep_state=keep_state and workflow is None
        )

    @overload
    async def sleep(self, delta: Duration) -> None: ...

    @overload
    async def sleep(self, *, until: datetime) -> None: ...

    @asks("ctx.sleep()")
    async def sleep(self, delta: Duration | None = None, *, until: datetime | None = None) -> None:
        """Sleep for a time (``timedelta`` or seconds) or until a moment (with a time zone).

        The wait is durable: no process needs to stay alive for it. A moment in the past returns at
        once, and so does less than no time. Raises ``ValueError`` for a moment without a time zone,
        and ``DurationError``, which is one, for what is no time.
        """
        if (delta is None) == (until is None):
            raise TypeError("ctx.sleep() takes either a time to sleep or until=, and not both.")
        if until is not None:
            await self._runtime.sleep_until(_to_micros(until))
        else:
            length = micros("The time of ctx.sleep()", delta)
            await self._runtime.sleep_until(self._runtime.now + length)

    @overload
    async def wait_for_signal(self, name: str, *, timeout: Duration | None = None) -> Any: ...

    @overload
    async def wait_for_signal[T](
        self, name: str, *, type: type[T], timeout: Duration | None = None
    ) -> T: ...

    @asks("ctx.wait_for_signal()")
    async def wait_for_signal(
        self, name: str, *, type: Any = Any, timeout: Duration | None = None
    ) -> Any:
        """The payload of the next signal of that name, in order of arrival.

        Signals that came earlier are waiting; none is lost or given out twice. One whose payload
        does not fit ``type`` is passed over, with an error in the run's log.

        Args:
            type: what the payload is read as.
            timeout: how long to wait, as ``timedelta`` or seconds.

        Raises:
            TimeoutError: none came in time.
            DurationError: the timeout is no time.
            PayloadError: no signal can have that name.
            DefinitionError: the workflow has a handler for it, which takes them all.
        """
        check_id("signal name", name)
        seconds = timeout_seconds("The timeout of ctx.wait_for_signal()", timeout)
        return await self._runtime.receive_signal(name, type, seconds)

    @asks("ctx.wait_until()")
    async def wait_until(
        self, condition: Callable[[], bool], *, timeout: Duration | None = None
    ) -> None:
        """Wait until a condition holds; it does when this returns.

        The condition is a plain function of what the run has in memory. It is looked at after
        whatever reaches the run has been handled, and not between, nor because time passes.

        Args:
            timeout: how long to wait, as ``timedelta`` or seconds; a durable timer.

        Raises:
            TimeoutError: it does not hold, and the time is over.
            TypeError: the condition is ``async``, or no function.
            DurationError: the timeout is no time.
            Exception: whatever the condition raises.
        """
        check_condition(condition)
        seconds = timeout_seconds("The timeout of ctx.wait_until()", timeout)
        if holds(condition):
            return
        try:
            async with asyncio.timeout(seconds) as scope:
                await self._runtime.wait_until(lambda: holds(condition))
        except TimeoutError:
            # It may hold since this very moment, which conditions are looked at the last.
            if holds(condition):
                return
            if not scope.expired():
                raise
            what = f"{described(condition)} did not hold within {shown(seconds)}"
            raise TimeoutError(f"Workflow {self.workflow_id!r}: {what}.") from None

    def side_effect[T](self, function: Callable[[], T], *, type: Any = None) -> T:
        """The result of a function that is called once and never again, on no replay.

        For something small from outside that needs no activity: a setting, a random token, the
        version of the program. The function is called on the worker's event loop and must be quick;
        when the worker dies before the turn is written, it is called again. It must not use ``ctx``
        nor touch the workflow's tasks.

        Args:
            type: what the result is stored and read as; by default what the function is annotated
                to return.

        Raises:
            SideEffectFailedError: the function raised, or its result cannot be stored.
            DefinitionError: its annotation cannot be resolved.
        """
        declared = returned_type(function) if type is None else type
        return cast(T, self._runtime.side_effect(function, declared))

    def saga(self, *, on_error: OnError = "continue") -> Saga:
        """Undo what was done when what follows fails: ``async with ctx.saga() as saga:``.

        In the block, ``saga.compensate(activity, ...)`` registers an activity that undoes a step.
        When the block raises or is cancelled, what was registered runs in reverse, and no further
        cancellation keeps it from that; then the exception goes on.

        Args:
            on_error: what follows when a compensation fails for good: ``"continue"`` with the
                others, or ``"stop"``.

        Raises (from the block):
            CompensationFailedError: compensations failed; a group of their errors.
        """
        return Saga(self._runtime, on_error, self._sagas)

    def patched(self, patch_id: str) -> bool:
        """Whether this run takes part in a change of its code.

        True for a run that comes here for the first time with code that asks; false for one that
        came here before, with code that did not. The answer is recorded, and the same for all of a
        run. Write the new code under ``if ctx.patched("id"):`` and keep the old under ``else:``
        until no run without it is open.

        Raises ``DefinitionError`` for an id that no store can hold.
        """
        return self._runtime.is_patched(check_name("patch", patch_id), deprecated=False)

    def deprecate_patch(self, patch_id: str) -> None:
        """Say that every run takes part in a change by now, in the place of ``patched``.

        Runs that go through here can be replayed by code that no longer mentions the patch. Once no
        run is open that only asked ``patched``, this call can go, too.

        Raises ``DefinitionError`` for an id that no store can hold.
        """
        self._runtime.is_patched(check_name("patch", patch_id), deprecated=True)

    def now(self) -> datetime:
        """The run's own time (UTC): when what it is handling now was taken into its history."""
        return _EPOCH + timedelta(microseconds=self._runtime.now)

    @property
    def random(self) -> Random:
        """A source of random numbers that gives the same ones on replay."""
        return self._runtime.random

    def uuid4(self) -> uuid.UUID:
        """A random UUID that is the same on replay."""
        return uuid.UUID(int=self.random.getrandbits(128), version=4)


# Code decides by it: another number needs a flag of the engine.
_LONG_HISTORY: Final = 10_000

_EPOCH = datetime.fromtimestamp(0, UTC)


def _to_micros(moment: object) -> Micros:
    if not isinstance(moment, datetime):
        raise TypeError(f"ctx.sleep(until=) takes a datetime, not {moment!r}.")
    if moment.tzinfo is None:
        raise ValueError(f"ctx.sleep(until={moment!r}) needs a time zone, for example UTC.")
    return (moment - _EPOCH) // timedelta(microseconds=1)
