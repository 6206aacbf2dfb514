"""What a run's code asks for, handed to the part of the run that answers it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from loom.authoring.activity import ActivityDefinition
from loom.authoring.children import ChildOptions, StartedChild
from loom.authoring.compiled import CompiledWorkflow, compiled_workflow
from loom.authoring.context import WorkflowContext
from loom.authoring.forbidden import GuardMode
from loom.authoring.outgoing import OutgoingSignal
from loom.authoring.runtime import Runtime
from loom.durations import shown
from loom.engine.activities import Activities
from loom.engine.children import Children
from loom.engine.compensations import register_compensation
from loom.engine.conditions import Conditions
from loom.engine.continuation import ContinueAsNew
from loom.engine.decision import Carried
from loom.engine.flags import Flag
from loom.engine.forgotten import track
from loom.engine.guarding import new_guard
from loom.engine.handlers import RunningHandlers
from loom.engine.labels import RunLabels
from loom.engine.loop import DeterministicLoop
from loom.engine.patches import Patches
from loom.engine.recorder import Recorder
from loom.engine.retry import WorkflowRetry
from loom.engine.run_log import RunLog
from loom.engine.side_effects import SideEffects
from loom.engine.signals import SignalBox
from loom.engine.timers import Timers
from loom.engine.updates import Updates
from loom.errors import PayloadError
from loom.history.events import (
    ActivityScheduled,
    StateSet,
    StateUpdate,
    WorkflowContinuedAsNew,
)
from loom.history.limits import RunLimits
from loom.history.payloads import PayloadConverter
from loom.history.relatives import ParentRun
from loom.history.status import RunStatus
from loom.identifiers import Micros, RunId, WorkflowId, derived_id

if TYPE_CHECKING:
    from random import Random


class RunRuntime(Runtime):
    """The parts that one run is made of, as its code sees them."""

    # With more than 29 attributes objects get dicts of their own, four times as large as this.
    __slots__ = (
        *("workflow_id", "run_id", "status", "is_open"),
        *("_workflow", "_queue", "_converter", "_make_random", "_random"),
        *("_recorder", "_timers", "_loop", "_guard", "_log"),
        *("_activities", "_children", "_signals", "_conditions", "_side_effects", "_patches"),
        *("_labels", "_handlers", "_updates", "_context", "_main"),
        *("_parent", "_limits", "_retry", "_input", "_carried", "_flags"),
        *("_cancel_reason", "_is_cancelled_late", "_is_early", "_is_for_reading"),
        "__weakref__",
    )

    def __init__(
        self,
        workflow: CompiledWorkflow,
        *,
        workflow_id: WorkflowId,
        run_id: RunId,
        queue: str,
        converter: PayloadConverter,
        random: Callable[[], Random],
        guards: GuardMode = "error",
    ) -> None:
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.status = RunStatus.RUNNING
        self.is_open = True
        self._workflow = workflow
        self._make_random = random
        self._random: Random | None = None
        self._converter = converter
        self._recorder = recorder = Recorder(converter)
        self._timers = Timers(recorder)
        self._loop = DeterministicLoop(self._timers, run_id)  # type: ignore[abstract]  # it refuses the rest
        recorder.loop = self._loop
        self._guard = new_guard(workflow.cls, guards, workflow_id=workflow_id, halt=recorder.halt)
        self._loop.guard = self._guard
        self._activities = Activities(recorder, queue)
        self._children = Children(recorder, workflow_id, run_id, queue)
        self._parent: ParentRun | None = None
        self._limits: RunLimits | None = None
        self._is_early = False
        self._retry = WorkflowRetry()
        self._queue = queue
        self._input: bytes = b""
        self._carried = Carried()
        self._signals = SignalBox(self._loop.create_future)
        self._conditions = Conditions(self._loop.create_future)
        self._loop.when_idle = self._conditions.look
        self._side_effects = SideEffects(recorder)
        self._patches = Patches(recorder)
        self._labels = RunLabels(recorder)
        self._log = RunLog(recorder, {"workflow_id": workflow_id, "run_id": run_id})
        self._handlers = RunningHandlers(workflow.handlers, recorder, self._log)
        self._updates = Updates(self._handlers)
        self._context: WorkflowContext[Any, Any] | None = None
        self._main: asyncio.Task[Any] | None = None
        self._cancel_reason: str | None = None
        self._is_cancelled_late = False
        """Whether the cancel request came when the code itself was over already."""
        self._is_for_reading = False
        self._flags: frozenset[Flag] = frozenset()

    # --- what the code asks for ---

    @property
    def random(self) -> Random:
        self._recorder.check_writable()
        if self._random is None:
            self._random = self._make_random()
        return self._random

    @property
    def is_replaying(self) -> bool:
        return self._recorder.is_replaying

    @property
    def now(self) -> Micros:
        return self._loop.now

    @property
    def history_length(self) -> int:
        return self._recorder.length

    @property
    def cancel_reason(self) -> str | None:
        return self._cancel_reason

    @property
    def tags(self) -> Mapping[str, str]:
        return self._labels.tags

    @property
    def memo(self) -> bytes | None:
        return self._labels.memo

    def set_tags(self, changes: Mapping[str, str | None]) -> None:
        self._labels.set(changes)

    @property
    def handlers_finished(self) -> bool:
        return not self._handlers

    def track(self, call: str, coroutine: Coroutine[Any, Any, Any], frame: FrameType) -> object:
        guard = self._guard
        return None if guard is None else track(coroutine, call, frame, guard)

    def encode(self, value: object, declared: Any, what: str = "A value", of: str = "") -> bytes:
        return self._recorder.encode(value, declared, what, of)

    def decode(self, payload: bytes, declared: Any, what: str = "A value", of: str = "") -> Any:
        return self._recorder.decode(payload, declared, what, of)

    def run_activity(
        self, activity: ActivityDefinition, arguments: Mapping[str, Any], *, local: bool = False
    ) -> Coroutine[Any, Any, Any]:
        return self._activities.run(activity, arguments, local=local)

    async def replay_activity(self, scheduled: ActivityScheduled) -> bytes:
        """Ask for an activity, or match it with the one that history holds, and await its result.

        Raises ``ActivityFailedError`` when it fails for good.
        """
        return await self._activities.replay_activity(scheduled)

    def start_child(self, workflow: Any, input: Any, options: ChildOptions) -> StartedChild:
        return self._children.start(workflow, input, options)

    def inherited_child(self, workflow_id: WorkflowId, workflow: Any) -> StartedChild:
        return self._children.inherited(workflow_id, workflow)

    async def child_result(self, child: StartedChild) -> Any:
        return await self._children.result(child)

    def cancel_child(self, child: StartedChild, reason: str) -> bool:
        return self._children.cancel(child, reason or self._cancel_reason or "")

    def send_signal(
        self, workflow_id: WorkflowId, run_id: RunId | None, signal: OutgoingSignal
    ) -> None:
        self._children.send_signal(workflow_id, run_id, signal)

    def send_cancel(self, workflow_id: WorkflowId, run_id: RunId | None, reason: str) -> None:
        self._children.send_cancel(workflow_id, run_id, reason)

    async def sleep_until(self, moment: Micros) -> None:
        await self._timers.sleep_until(moment)

    async def receive_signal(self, name: str, declared: Any, timeout: float | None) -> Any:
        self._handlers.refuse_waiting_for(name)
        what = "The payload of signal"
        if Flag.UNFIT_SIGNALS_DROPPED not in self._flags:
            return self.decode(await self._next_signal(name, timeout), declared, what, name)
        # Those that are there already start no timer.
        while name in self._signals:
            try:
                return self.decode(await self._signals.get(name), declared, what, name)
            except PayloadError as error:
                self._drop_signal(name, error)
        return await self._fitting_signal(name, declared, timeout)

    async def _fitting_signal(self, name: str, declared: Any, timeout: float | None) -> Any:
        try:
            async with asyncio.timeout(timeout):
                while True:
                    payload = await self._signals.get(name)
                    try:
                        return self.decode(payload, declared, "The payload of signal", name)
                    except PayloadError as error:
                        self._drop_signal(name, error)
        except TimeoutError:
            raise self._no_signal(name, timeout) from None

    async def _next_signal(self, name: str, timeout: float | None) -> bytes:
        if Flag.SIGNAL_BEFORE_TIMER in self._flags and name in self._signals:
            return await self._signals.get(name)
        try:
            async with asyncio.timeout(timeout):
                return await self._signals.get(name)
        except TimeoutError:
            raise self._no_signal(name, timeout) from None

    def _no_signal(self, name: str, timeout: float | None) -> TimeoutError:
        what = f"no signal {name!r} came within {shown(timeout)}"
        return TimeoutError(f"Workflow {self.workflow_id!r}: {what}.")

    def _drop_signal(self, name: str, error: PayloadError) -> None:
        # Whoever sent it has gone on long ago; the run must outlive what strangers send it.
        text = f"The signal {name!r} was dropped: {error}"
        self._log.log(logging.ERROR, lambda: text)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        await self._conditions.wait(condition)

    def side_effect(self, function: Callable[[], Any], declared: Any) -> Any:
        return self._side_effects.record(function, declared)

    def is_patched(self, patch_id: str, *, deprecated: bool) -> bool:
        return self._patches.is_applied(patch_id, deprecated=deprecated)

    def register_compensation(
        self, activity: ActivityDefinition, arguments: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        return register_compensation(self._recorder, activity, arguments)

    def record_state[E: (StateSet, StateUpdate)](self, change: E) -> E:
        return self._recorder.record(change)

    def log(self, level: int, text: Callable[[], str]) -> None:
        self._log.log(level, text)

    def continue_as_new(
        self, workflow: Any, input: Any, *, queue: str | None, keep_state: bool
    ) -> NoReturn:
        self._recorder.check_writable()
        self._handlers.refuse_in_handlers("ctx.continue_as_new()")
        code = self._workflow if workflow is None else compiled_workflow(workflow)
        payload = (
            self._input
            if input is ...
            else self.encode(input, code.input_type, "The input of workflow", code.name)
        )
        run_id = derived_id(self.run_id, "continued")
        event = WorkflowContinuedAsNew(
            run_id, code.name, code.version, queue or self._queue, payload
        )
        raise ContinueAsNew(event, keeps_state=keep_state)
