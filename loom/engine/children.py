"""The children of one run, and what it sends to other runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

from loom.authoring.children import ChildOptions, StartedChild
from loom.authoring.compiled import compiled_workflow
from loom.authoring.outgoing import OutgoingSignal
from loom.engine.recorder import Recorder
from loom.errors import (
    ChildWorkflowCancelledError,
    ChildWorkflowError,
    ChildWorkflowFailedError,
    ChildWorkflowNotStartedError,
    ChildWorkflowTerminatedError,
    ChildWorkflowTimedOutError,
    DefinitionError,
)
from loom.given import check_id
from loom.history.events import (
    CancelSent,
    ChildCancelRequested,
    ChildCompleted,
    ChildFailed,
    ChildStarted,
    SignalSent,
)
from loom.history.failures import MAX_MESSAGE, storable
from loom.history.relatives import ChildRun
from loom.history.status import RunStatus
from loom.identifiers import MAX_ID_LENGTH, RunId, WorkflowId, derived_id


class ChildFailure(Exception):
    """Carries a ``ChildFailed`` event to whoever awaits the child."""

    def __init__(self, event: ChildFailed) -> None:
        super().__init__(event.failure.message)
        self.event = event


class Children:
    """Children by id, from being asked for to their ends."""

    def __init__(
        self, recorder: Recorder, workflow_id: WorkflowId, run_id: RunId, queue: str
    ) -> None:
        self._recorder = recorder
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._queue = queue
        self._waiting: dict[RunId, asyncio.Future[bytes]] = {}
        self._cancelled: set[RunId] = set()
        self._open: dict[RunId, ChildRun] = {}
        self._inherited: dict[WorkflowId, StartedChild] = {}
        """Those that an earlier run of the chain has started, also when they have ended since."""

    @property
    def open(self) -> tuple[ChildRun, ...]:
        """Those that have not told how they ended, in the order of asking."""
        return tuple(self._open.values())

    def inherit(self, children: tuple[ChildRun, ...]) -> None:
        """Take over those that an earlier run of the chain has started."""
        for child in children:
            self._open[child.run_id] = child
            self._waiting[child.run_id] = self._recorder.loop.create_future()
            self._inherited[child.workflow_id] = StartedChild(
                0, child.workflow_id, child.run_id, "", self._waiting[child.run_id], Any
            )

    # --- what the code asks for ---

    def start(self, workflow: Any, input: Any, options: ChildOptions) -> StartedChild:
        """Ask for a child, or match it with the one that history holds.

        Raises ``PayloadError`` when its input cannot be stored, and ``DefinitionError`` when it is
        no workflow.
        """
        recorder = self._recorder
        if isinstance(workflow, str):
            name = check_id("workflow name", workflow)
            version = check_id("version", options.version or "1")
            input_type = result_type = Any
            cls = None
        else:
            code = compiled_workflow(workflow)
            name, version = code.name, code.version_for(options.version)
            input_type, result_type = code.input_type, code.result_type
            cls = code.cls
        payload = recorder.encode(input, input_type, "The input of workflow", name)
        memo = (
            None
            if options.memo is None
            else recorder.encode(options.memo, Any, "The memo of workflow", name).decode()
        )
        child_id = recorder.next_id()
        run_id = derived_id(self._run_id, str(child_id))
        child = recorder.record(
            ChildStarted(
                child_id=child_id,
                workflow_id=options.id or self._default_id(child_id, run_id),
                run_id=run_id,
                name=name,
                version=version,
                queue=options.queue or self._queue,
                policy=options.policy,
                payload=payload,
                tags=options.stored_tags,
                memo=memo,
                limits=options.limits(recorder.now),
                retry=None if options.retry is None else options.retry.terms,
            )
        )
        outcome: asyncio.Future[bytes] = recorder.loop.create_future()
        self._waiting[child.run_id] = outcome
        self._open[child.run_id] = ChildRun(child.workflow_id, child.run_id, child.policy)
        return StartedChild(
            child_id, child.workflow_id, child.run_id, child.name, outcome, result_type, cls
        )

    def inherited(self, workflow_id: WorkflowId, workflow: Any) -> StartedChild:
        """A child that was open when this run began. Raises ``DefinitionError`` for none."""
        child = self._inherited.get(workflow_id)
        if child is None:
            known = ", ".join(map(repr, self._inherited)) or "none"
            raise DefinitionError(
                f"No child {workflow_id!r} was open when this run continued the one before it; "
                f"there were: {known}."
            )
        if workflow is None:
            return child
        code = compiled_workflow(workflow)
        return replace(child, name=code.name, result_type=code.result_type, cls=code.cls)

    def _default_id(self, child_id: int, run_id: RunId) -> WorkflowId:
        # With a part of the run's own id: runs of the same workflow id come one after the other.
        readable = f"{self._workflow_id}/{child_id}-{run_id[:8]}"
        return readable if len(readable) <= MAX_ID_LENGTH else run_id

    async def result(self, child: StartedChild) -> Any:
        """Raises ``ChildWorkflowError`` when it did not complete."""
        try:
            # Several may wait for it, and each may be cancelled by itself.
            payload = await asyncio.shield(child.outcome)
        except ChildFailure as failure:
            raise _child_error(child, failure.event) from None
        return self._recorder.decode(
            payload, child.result_type, "The result of child", child.workflow_id
        )

    def cancel(self, child: StartedChild, reason: str) -> bool:
        """Ask a child to end; false when it has."""
        if child.run_id not in self._waiting:
            return False
        if child.run_id not in self._cancelled:
            self._cancelled.add(child.run_id)
            self._recorder.record(
                ChildCancelRequested(
                    child.child_id, child.workflow_id, child.run_id, storable(reason, MAX_MESSAGE)
                )
            )
        return True

    def send_signal(
        self, workflow_id: WorkflowId, run_id: RunId | None, signal: OutgoingSignal
    ) -> None:
        recorder = self._recorder
        encoded = recorder.encode(
            signal.payload, signal.declared, "The payload of signal", signal.name
        )
        recorder.record(SignalSent(recorder.next_id(), workflow_id, signal.name, encoded, run_id))

    def send_cancel(self, workflow_id: WorkflowId, run_id: RunId | None, reason: str) -> None:
        recorder = self._recorder
        text = storable(reason, MAX_MESSAGE)
        recorder.record(CancelSent(recorder.next_id(), workflow_id, text, run_id))

    # --- what arrives ---

    def expects(self, event: ChildCompleted | ChildFailed) -> bool:
        return event.run_id in self._open

    def on_completed(self, event: ChildCompleted) -> None:
        outcome = self._take(event)
        if outcome is not None:
            outcome.set_result(event.payload)

    def on_failed(self, event: ChildFailed) -> None:
        outcome = self._take(event)
        if outcome is not None:
            outcome.set_exception(ChildFailure(event))

    def _take(self, event: ChildCompleted | ChildFailed) -> asyncio.Future[bytes] | None:
        if self._open.pop(event.run_id, None) is None:
            self._recorder.check_asked(event, event.child_id)
        self._cancelled.discard(event.run_id)
        return self._waiting.pop(event.run_id, None)


_ERRORS: Final[dict[RunStatus | None, tuple[type[ChildWorkflowError], str]]] = {
    RunStatus.FAILED: (ChildWorkflowFailedError, "failed"),
    RunStatus.CANCELLED: (ChildWorkflowCancelledError, "was cancelled"),
    RunStatus.TERMINATED: (ChildWorkflowTerminatedError, "was terminated"),
    RunStatus.TIMED_OUT: (ChildWorkflowTimedOutError, "ran out of time"),
    None: (ChildWorkflowNotStartedError, "was not started"),
}


def _child_error(child: StartedChild, event: ChildFailed) -> ChildWorkflowError:
    cls, what = _ERRORS.get(event.status, (ChildWorkflowError, "did not complete"))
    failure = event.failure
    reason = ": ".join(part for part in (failure.type, failure.message) if part)
    name = f" ({child.name})" if child.name else ""
    return cls(
        f"Child {child.workflow_id!r}{name} {what}" + (f": {reason}" if reason else "."),
        workflow=child.name,
        workflow_id=child.workflow_id,
        run_id=child.run_id,
        cause_type=failure.type,
        cause_message=failure.message,
        cause_traceback=failure.traceback,
    )
