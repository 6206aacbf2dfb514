"""How the application starts runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Unpack, overload

from loom.access import Call
from loom.authoring.compiled import compiled_workflow
from loom.authoring.starting import ConflictPolicy, ReusePolicy, StartKeywords, StartOptions
from loom.authoring.workflow import Given, Runnable, Workflow
from loom.durations import Duration
from loom.given import check_keywords
from loom.handle import WorkflowHandle
from loom.history.tags import TagValue
from loom.identifiers import WorkflowId
from loom.opened import Openable
from loom.retry import RetryPolicy


class StartsRuns(Openable):
    """Everything that ``Loom`` can start."""

    @overload
    async def start[I, R](
        self,
        workflow: type[Runnable[I, R]],
        input: Given[I] = ...,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[R]: ...

    @overload
    async def start[I, S](
        self,
        workflow: type[Workflow[I, S]],
        input: Given[I] = ...,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[S]: ...

    @overload
    async def start(
        self,
        workflow: str,
        input: Any = None,
        *,
        version: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[Any]: ...

    async def start(
        self,
        workflow: Any,
        input: Any = None,
        *,
        id: WorkflowId | None = None,
        queue: str = "default",
        version: str | None = None,
        on_conflict: ConflictPolicy = "use_existing",
        reuse: ReusePolicy = "allow",
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        start_at: datetime | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retry: RetryPolicy | None = None,
        memo: Any = None,
        tags: Mapping[str, TagValue] | None = None,
    ) -> WorkflowHandle[Any]:
        """Start a run; it is durable when this returns.

        Args:
            workflow: the class, or its name when the class is not at hand.
            input: what the code gets as ``ctx.input``.
            id: at most one open run has it; by default a new one is made up.
            queue: which workers may take it.
            version: of a workflow given by name; by default "1".
            on_conflict: what to do when an open run of the same workflow has the id: return that
                run, raise, or terminate it first.
            reuse: whether the id may be used again when its newest run has ended: always, only
                when that run did not complete, or never.
            idempotency_key: of starts of the same workflow and id with the same key, the first
                starts a run and the others return it, even when it has ended.
            delay, start_at: the run is there at once, and its code begins so much later, or then.
            run_timeout: how long the run may take from when it may begin; then it ends as
                TIMED_OUT. As ``timedelta`` or seconds; a run that continues it has as much again.
            execution_timeout: the same for all the runs of a chain together.
            retry: when its code fails, another run of the same id follows in its chain, as the
                policy says; handles and parents wait for the last.
            memo: any JSON value, to be read beside the run by those who look at it, and by its
                code as ``ctx.memo``. It never changes.
            tags: small values by which the run is found; its code changes them by
                ``ctx.set_tags``. Numbers are told by value, moments are given back in UTC.

        Raises:
            PayloadError: the input does not fit the workflow's input type, or something given
                cannot be stored; nothing was written.
            WorkflowAlreadyStartedError: the id is taken by another workflow, or by the same one
                and ``on_conflict`` is ``"fail"``; or it may not be used again.
            ConfigurationError: options contradict each other.
            DefinitionError: the class is no workflow.
            StoreUnavailableError: the outcome is unknown; starting again with the same id is safe.
        """
        options = StartOptions(
            id=id,
            queue=queue,
            on_conflict=on_conflict,
            reuse=reuse,
            idempotency_key=idempotency_key,
            delay=delay,
            start_at=start_at,
            run_timeout=run_timeout,
            execution_timeout=execution_timeout,
            retry=retry,
            memo=memo,
            tags=tags,
        )
        if isinstance(workflow, str):
            starts = self._open_parts().starts
            return await starts.start_by_name(workflow, version, input, options)
        compiled_workflow(workflow).version_for(version)
        return await self._start(workflow, input, options)

    @overload
    async def start_with_signal[I, R, T](
        self,
        workflow: type[Runnable[I, R]],
        input: Given[I],
        signal: Callable[[Any, T], object],
        payload: Given[T],
        *,
        request_id: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[R]: ...

    @overload
    async def start_with_signal[I, S, T](
        self,
        workflow: type[Workflow[I, S]],
        input: Given[I],
        signal: Callable[[Any, T], object],
        payload: Given[T],
        *,
        request_id: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[S]: ...

    @overload
    async def start_with_signal[I, R](
        self,
        workflow: type[Runnable[I, R]],
        input: Given[I],
        signal: str | Callable[[Any], object],
        payload: Any = None,
        *,
        request_id: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[R]: ...

    @overload
    async def start_with_signal[I, S](
        self,
        workflow: type[Workflow[I, S]],
        input: Given[I],
        signal: str | Callable[[Any], object],
        payload: Any = None,
        *,
        request_id: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[S]: ...

    @overload
    async def start_with_signal(
        self,
        workflow: str,
        input: Any,
        signal: str,
        payload: Any = None,
        *,
        request_id: str | None = None,
        version: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[Any]: ...

    async def start_with_signal(
        self,
        workflow: Any,
        input: Any,
        signal: Any,
        payload: Any = None,
        *,
        request_id: str | None = None,
        version: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[Any]:
        """Start a run that finds a signal waiting, or send the signal to the open run of that id:
        one or the other, in one commit.

        Args:
            signal: the handler, as in ``Order.add_item``, or a name; one with several parameters is
                given by name, with a dict of its arguments.
            payload: what the signal carries.
            request_id: a run that has had a signal with the same one gets it no second time. When
                it has ended since, and no other has followed with its id, none is started: the
                handle is for that one.
            options: as for ``start``. With ``on_conflict="fail"`` an open run gets no signal.

        Raises:
            WorkflowAlreadyStartedError, PayloadError, DefinitionError, StoreUnavailableError: as
                ``start`` does. When the outcome is unknown, doing it again with the same id and
                ``request_id`` is safe.
            ConfigurationError: there is an ``idempotency_key``, which cannot speak for the signal.
        """
        check_keywords("start_with_signal", options, StartKeywords.__annotations__)
        if isinstance(signal, str):
            call = Call(signal, payload=payload)
        else:
            call = Call(signal, () if payload is None else (payload,))
        return await self._open_parts().starts.start_with_signal(
            workflow, version, input, call, request_id, StartOptions(**options)
        )

    async def _start(
        self, workflow: type[Any], input: Any, options: StartOptions
    ) -> WorkflowHandle[Any]:
        return await self._open_parts().starts.start(workflow, input, options)
