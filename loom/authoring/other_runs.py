"""What a workflow's code may ask of other runs: to begin, to hear of something, to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Unpack, overload

from loom.authoring.asking import asks
from loom.authoring.children import ChildHandle, ChildKeywords, awaited, child_options
from loom.authoring.outgoing import outgoing_signal
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
        **options: Unpack[ChildKeywords],
    ) -> R: ...

    @overload
    async def child[I, S](
        self,
        workflow: type[Workflow[I, S]],
        input: Given[I] = ...,
        **options: Unpack[ChildKeywords],
    ) -> S: ...

    @overload
    async def child(
        self,
        workflow: str,
        input: Any = None,
        *,
        version: str | None = None,
        **options: Unpack[ChildKeywords],
    ) -> Any: ...

    @asks("ctx.child()")
    async def child(
        self,
        workflow: Any,
        input: Any = None,
        *,
        version: str | None = None,
        **options: Unpack[ChildKeywords],
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
            run_timeout, execution_timeout: how long the child, and the chain of runs that it
                begins, may take from now, as ``timedelta`` or seconds.
            retry: when its code fails, another run of the same id follows, as the policy says;
                this run hears of the last.
            memo, tags: as of every start: what is read beside the run, and what it is found by.

        Raises:
            ChildWorkflowError: it did not complete: it failed, was cancelled or terminated, or was
                not started since an open run has its id.
            PayloadError: the input does not fit the workflow's input type; nothing was started.
            DefinitionError: the class is no workflow.
            ConfigurationError: there is no such policy.
        """
        checked = child_options("ctx.child", version, options)
        return await awaited(self._runtime, self._runtime.start_child(workflow, input, checked))

    @overload
    async def start_child[I, R](
        self,
        workflow: type[Runnable[I, R]],
        input: Given[I] = ...,
        **options: Unpack[ChildKeywords],
    ) -> ChildHandle[R]: ...

    @overload
    async def start_child[I, S](
        self,
        workflow: type[Workflow[I, S]],
        input: Given[I] = ...,
        **options: Unpack[ChildKeywords],
    ) -> ChildHandle[S]: ...

    @overload
    async def start_child(
        self,
        workflow: str,
        input: Any = None,
        *,
        version: str | None = None,
        **options: Unpack[ChildKeywords],
    ) -> ChildHandle[Any]: ...

    @asks("ctx.start_child()")
    async def start_child(
        self,
        workflow: Any,
        input: Any = None,
        *,
        version: str | None = None,
        **options: Unpack[ChildKeywords],
    ) -> ChildHandle[Any]:
        """Start another workflow as a child and go on at once.

        It is started when this turn is written. That its id is taken shows when its result is
        awaited. Takes and raises what ``child`` does, which waits for it.
        """
        checked = child_options("ctx.start_child", version, options)
        return ChildHandle(self._runtime, self._runtime.start_child(workflow, input, checked))

    @overload
    def inherited_child[I, R](
        self, id: WorkflowId, workflow: type[Runnable[I, R]]
    ) -> ChildHandle[R]: ...

    @overload
    def inherited_child[I, S](
        self, id: WorkflowId, workflow: type[Workflow[I, S]]
    ) -> ChildHandle[S]: ...

    @overload
    def inherited_child(self, id: WorkflowId, workflow: None = None) -> ChildHandle[Any]: ...

    def inherited_child(self, id: WorkflowId, workflow: Any = None) -> ChildHandle[Any]:
        """A child that was open when the run before this one continued as new.

        Its result can be awaited here as it could have been there, also when it has come meanwhile.

        Args:
            id: the child's workflow id; carry it in the input or the state.
            workflow: the child's class, by which its result is read.

        Raises:
            DefinitionError: no child of that id was open then.
        """
        return ChildHandle(
            self._runtime, self._runtime.inherited_child(check_id("workflow id", id), workflow)
        )

    @overload
    async def signal_workflow(
        self, id: WorkflowId, name: str, /, payload: Any = None, *, run_id: RunId | None = None
    ) -> None: ...

    @overload
    async def signal_workflow[**P](
        self,
        id: WorkflowId,
        signal: Callable[Concatenate[Any, P], object],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...

    @asks("ctx.signal_workflow()")
    async def signal_workflow(
        self, id: WorkflowId, signal: Any, /, *args: Any, **kwargs: Any
    ) -> None:
        """Send a signal to another run, when this turn is written; delivered once.

        A run that does not exist, or has closed by then, does not get it, and nobody is told.

        Args:
            signal: the handler, as in ``ctx.signal_workflow("o-1", Order.add_item, item)``, with
                its arguments; or a name, with a payload.
            run_id: with a name: one run in particular, or those that continue it; by default the
                open one.

        Raises:
            PayloadError: the payload cannot be stored, or does not fit the handler's parameters.
            DefinitionError: the method is no signal handler.
        """
        run_id = kwargs.pop("run_id", None) if isinstance(signal, str) else None
        sent = outgoing_signal(signal, args, kwargs)
        checked = check_id("workflow id", id), check_optional_id("run id", run_id)
        self._runtime.send_signal(*checked, sent)

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
