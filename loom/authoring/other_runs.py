"""What a workflow's code may ask of other runs: to begin, to hear of something, to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from loom.authoring.asking import asks
from loom.authoring.children import ChildHandle, ChildOptions, ParentClose, awaited
from loom.authoring.runtime import Runtime
from loom.given import check_id, check_optional_id, check_text
from loom.identifiers import RunId, WorkflowId

if TYPE_CHECKING:
    from loom.authoring.workflow import Given, Runnable, Workflow


class OtherRuns:
    """The part of a run's context that is about other runs."""

    _runtime: Runtime

    @overload
    async def child[I, R](
        self,
        workflow: type[Runnable[I, R]],
        input: Given[I] = ...,
        *,
        id: WorkflowId | None = None,
        queue: str | None = None,
        parent_close_policy: ParentClose = "terminate",
    ) -> R: ...

    @overload
    async def child[I, S](
        self,
        workflow: type[Workflow[I, S]],
        input: Given[I] = ...,
        *,
        id: WorkflowId | None = None,
        queue: str | None = None,
        parent_close_policy: ParentClose = "terminate",
    ) -> S: ...

    @overload
    async def child(
        self,
        workflow: str,
        input: Any = None,
        *,
        id: WorkflowId | None = None,
        version: str | None = None,
        queue: str | None = None,
        parent_close_policy: ParentClose = "terminate",
    ) -> Any: ...

    @asks("ctx.child()")
    async def child(
        self,
        workflow: Any,
        input: Any = None,
        *,
        id: WorkflowId | None = None,
        version: str | None = None,
        queue: str | None = None,
        parent_close_policy: ParentClose = "terminate",
    ) -> Any:
        """Start another workflow as a child and wait for its result.

        Cancelling the wait cancels the child, and is over when the child has ended.

        Args:
            workflow: the class, or its name when the class is not at hand.
            input: what the child gets as ``ctx.input``.
            id: its workflow id; by default one made of this run's.
            version: of a workflow given by name; by default "1".
            queue: which workers may take it; by default this run's.
            parent_close_policy: what becomes of it when this run closes first, in whatever way:
                it is terminated, cancelled, or left alone.

        Raises:
            ChildWorkflowError: it did not complete: it failed, was cancelled or terminated, or was
                not started since an open run has its id.
            PayloadError: the input does not fit the workflow's input type; nothing was started.
            DefinitionError: the class is no workflow.
            ConfigurationError: there is no such policy.
        """
        options = ChildOptions(
            id=id, version=version, queue=queue, parent_close_policy=parent_close_policy
        )
        return await awaited(self._runtime, self._runtime.start_child(workflow, input, options))

    @overload
    async def start_child[I, R](
        self,
        workflow: type[Runnable[I, R]],
        input: Given[I] = ...,
        *,
        id: WorkflowId | None = None,
        queue: str | None = None,
        parent_close_policy: ParentClose = "terminate",
    ) -> ChildHandle[R]: ...

    @overload
    async def start_child[I, S](
        self,
        workflow: type[Workflow[I, S]],
        input: Given[I] = ...,
        *,
        id: WorkflowId | None = None,
        queue: str | None = None,
        parent_close_policy: ParentClose = "terminate",
    ) -> ChildHandle[S]: ...

    @overload
    async def start_child(
        self,
        workflow: str,
        input: Any = None,
        *,
        id: WorkflowId | None = None,
        version: str | None = None,
        queue: str | None = None,
        parent_close_policy: ParentClose = "terminate",
    ) -> ChildHandle[Any]: ...

    @asks("ctx.start_child()")
    async def start_child(
        self,
        workflow: Any,
        input: Any = None,
        *,
        id: WorkflowId | None = None,
        version: str | None = None,
        queue: str | None = None,
        parent_close_policy: ParentClose = "terminate",
    ) -> ChildHandle[Any]:
        """Start another workflow as a child and go on at once.

        It is started when this turn is written. That its id is taken shows when its result is
        awaited. Takes and raises what ``child`` does, which waits for it.
        """
        options = ChildOptions(
            id=id, version=version, queue=queue, parent_close_policy=parent_close_policy
        )
        return ChildHandle(self._runtime, self._runtime.start_child(workflow, input, options))

    @asks("ctx.signal_workflow()")
    async def signal_workflow(
        self, id: WorkflowId, name: str, payload: Any = None, *, run_id: RunId | None = None
    ) -> None:
        """Send a signal to another run, when this turn is written; delivered once.

        A run that does not exist, or has closed by then, does not get it, and nobody is told.

        Args:
            run_id: one run in particular, or those that continue it; by default the open one.

        Raises ``PayloadError`` when the payload cannot be stored.
        """
        check_id("signal name", name)
        checked = check_id("workflow id", id), check_optional_id("run id", run_id)
        self._runtime.send_signal(*checked, name, payload)

    @asks("ctx.cancel_workflow()")
    async def cancel_workflow(
        self, id: WorkflowId, *, reason: str = "", run_id: RunId | None = None
    ) -> None:
        """Ask another run to end, when this turn is written. One that has closed is left alone.

        Args:
            run_id: one run in particular, or those that continue it; by default the open one.

        Raises ``PayloadError`` when no store could hold an id, or the reason is no text.
        """
        checked = check_id("workflow id", id), check_optional_id("run id", run_id)
        self._runtime.send_cancel(*checked, check_text("reason", reason))
