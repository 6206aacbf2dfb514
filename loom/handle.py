"""``WorkflowHandle``: a run as those outside of it see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, Generic, TypeVar, overload

from loom.access import Call, RunAccess
from loom.durations import Duration, timeout_seconds
from loom.errors import PayloadError
from loom.given import check_id
from loom.history.export import RunHistory
from loom.history.status import RunStatus
from loom.identifiers import RunId, WorkflowId
from loom.info import HistoryEvent, LogLine, WorkflowInfo

R_co = TypeVar("R_co", covariant=True)


# The old spelling, since a handle only ever gives results out and so is covariant in them.
class WorkflowHandle(Generic[R_co]):  # noqa: UP046
    """A run, to be watched and talked to from anywhere. Holds no connection and no state.

    Every method raises ``WorkflowNotFoundError`` when there is no such run, and
    ``StoreUnavailableError`` when the database does not answer.
    """

    def __init__(
        self,
        access: RunAccess,
        workflow_id: WorkflowId,
        run_id: RunId | None = None,
        result_type: Any = Any,
        *,
        code: object = None,
        request_id: str | None = None,
        is_new: bool = False,
    ) -> None:
        self._access = access
        self._result_type = result_type
        self._code = code
        self._request_id = request_id
        self.workflow_id = workflow_id
        self.run_id = run_id
        """The one run that is meant; ``None`` for the newest with the workflow id."""
        self.is_new = is_new
        """Whether the start that gave this handle has made the run, and not found it there. Starts
        with one idempotency key are one start, and all of them have made it."""

    async def result(self, timeout: Duration | None = None) -> R_co:
        """Wait until the run has closed, however long, and return its result.

        Args:
            timeout: how long to wait, as ``timedelta`` or seconds; the run goes on regardless.

        Raises:
            WorkflowExecutionError: it failed, was cancelled or terminated, or its time was up.
            TimeoutError: it has not closed in time.
            DurationError: the timeout is no time.
        """
        seconds = timeout_seconds("timeout of result()", timeout)
        result: R_co = await self._access.result(
            self.workflow_id, self.run_id, self._result_type, seconds
        )
        return result

    async def status(self) -> RunStatus:
        return (await self.info()).status

    async def info(self) -> WorkflowInfo:
        """Where the run stands, and what it is waiting for."""
        return await self._access.info(self.workflow_id, self.run_id)

    def with_request_id(self, request_id: str) -> WorkflowHandle[R_co]:
        """A handle to the same run, whose signal or update is one and the same request, however
        often it is sent. Each request has an id of its own."""
        return WorkflowHandle(
            self._access,
            self.workflow_id,
            self.run_id,
            self._result_type,
            code=self._code,
            request_id=check_id("request id", request_id),
            is_new=self.is_new,
        )

    @overload
    async def signal(
        self, name: str, /, payload: Any = None, *, request_id: str | None = None
    ) -> None: ...

    @overload
    async def signal[**P](
        self, signal: Callable[Concatenate[Any, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None: ...

    async def signal(self, signal: Any, /, *args: Any, **kwargs: Any) -> None:
        """Send a signal; it is durable when this returns.

        Args:
            signal: the handler, as in ``handle.signal(Order.add_item, item)``, with its arguments;
                or a name, with a payload. With a handler the id is given by ``with_request_id``.
            request_id: sending again with the same one delivers nothing twice.

        Raises:
            WorkflowClosedError: the run has ended.
            PayloadError: the payload cannot be stored, or does not fit the handler's parameters.
            DefinitionError: the method is no signal handler.
        """
        call, request_id = self._request("signal", signal, args, kwargs)
        await self._access.signal(self.workflow_id, self.run_id, call, self._code, request_id)

    @overload
    async def query(self, name: str, /, payload: Any = None) -> Any: ...

    @overload
    async def query[**P, T](
        self, query: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def query(self, query: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Ask the run something; nothing of it is written.

        It is answered in this process, from what has been recorded so far, also when the run has
        closed. That takes the run's code: that of a worker in this process, or of the class that
        the handle was given.

        Args:
            query: the handler, as in ``handle.query(Order.progress)``, with its arguments; or a
                name, with a payload.

        Raises:
            WorkflowNotServedError: the run's code is not in this process.
            QueryError: there is no such query, or the code does not fit the run's history.
            QueryFailedError: the handler raised.
            PayloadError: the arguments do not fit the handler's parameters.
        """
        call, _ = _call("query", query, args, kwargs, ("payload",))
        return await self._access.query(self.workflow_id, self.run_id, call, self._code)

    @overload
    async def update(
        self, name: str, /, payload: Any = None, *, request_id: str | None = None
    ) -> Any: ...

    @overload
    async def update[**P, T](
        self,
        update: Callable[Concatenate[Any, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...

    @overload
    async def update[**P, T](
        self, update: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def update(self, update: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Send an update, wait until its handler has ended, however long, and return its result.

        Whoever stops waiting stops nothing: the update is durable as soon as it is sent.

        Args:
            update: the handler, as in ``handle.update(Order.add_item, item)``, with its arguments;
                or a name, with a payload. With a handler the id is given by ``with_request_id``.
            request_id: sending again with the same one gets the answer of the first.

        Raises:
            UpdateRejectedError: it was not accepted: its validator raised, the payload does not fit
                the handler, or there is none.
            UpdateFailedError: the handler raised.
            UpdateUnfinishedError: the run ended before the handler did.
            WorkflowClosedError: the run has ended.
            PayloadError: the payload cannot be stored, or does not fit the handler's parameters.
            DefinitionError: the method is no update handler.
        """
        call, request_id = self._request("update", update, args, kwargs)
        return await (await self._send_update(call, request_id)).result()

    @overload
    async def start_update(
        self, name: str, /, payload: Any = None, *, request_id: str | None = None
    ) -> UpdateHandle[Any]: ...

    @overload
    async def start_update[**P, T](
        self,
        update: Callable[Concatenate[Any, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> UpdateHandle[T]: ...

    @overload
    async def start_update[**P, T](
        self, update: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> UpdateHandle[T]: ...

    async def start_update(self, update: Any, /, *args: Any, **kwargs: Any) -> UpdateHandle[Any]:
        """Send an update without waiting for it; it is durable when this returns.

        Nobody has looked at it then: whether it was accepted is told with its result. The arguments
        are those of ``update``, which raises as this does when the update cannot be sent.
        """
        call, request_id = self._request("update", update, args, kwargs)
        return await self._send_update(call, request_id)

    def update_handle(self, update_id: str) -> UpdateHandle[Any]:
        """A handle to an update that was sent with that request id, from anywhere."""
        known = check_id("request id", update_id)
        return UpdateHandle(self._access, self.workflow_id, self.run_id, known)

    async def _send_update(self, call: Call, request_id: str | None) -> UpdateHandle[Any]:
        sent = await self._access.start_update(
            self.workflow_id, self.run_id, call, self._code, request_id
        )
        return UpdateHandle(
            self._access, self.workflow_id, sent.run_id, sent.update_id, sent.result_type
        )

    def _request(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Call, str | None]:
        call, request_id = _call(kind, target, args, kwargs, ("payload", "request_id"))
        return call, self._request_id if request_id is None else request_id

    async def cancel(self, *, reason: str = "") -> None:
        """Ask the run to end: its code gets ``asyncio.CancelledError`` and may clean up first.

        Raises ``WorkflowClosedError`` when the run has ended already.
        """
        await self._access.cancel(self.workflow_id, self.run_id, reason)

    async def terminate(self, *, reason: str = "") -> None:
        """End the run at once, without its code having a say.

        Raises ``WorkflowClosedError`` when the run has ended already.
        """
        await self._access.terminate(self.workflow_id, self.run_id, reason)

    async def retry(self) -> None:
        """Have the run tried again at once if it is BLOCKED, by any worker that has its code,
        instead of when its wait is over.

        Raises ``WorkflowClosedError`` when the run has ended already.
        """
        await self._access.retry(self.workflow_id, self.run_id)

    async def history(self) -> list[HistoryEvent]:
        """Everything that happened to the run, in order."""
        return await self._access.history(self.workflow_id, self.run_id)

    async def export(self) -> RunHistory:
        """The run's history as it is stored: to be written to a file, replayed by a ``Replayer``,
        or imported into another database.

        Raises ``HistoryError`` when events are missing from it.
        """
        return await self._access.export(self.workflow_id, self.run_id)

    async def logs(self) -> list[LogLine]:
        """What the run's code logged, in order."""
        return await self._access.logs(self.workflow_id, self.run_id)

    def __repr__(self) -> str:
        run = f", run_id={self.run_id!r}" if self.run_id else ""
        return f"<WorkflowHandle {self.workflow_id!r}{run}>"


class UpdateHandle(Generic[R_co]):  # noqa: UP046
    """An update that was sent, to be awaited from anywhere. Holds no connection and no state."""

    def __init__(
        self,
        access: RunAccess,
        workflow_id: WorkflowId,
        run_id: RunId | None,
        update_id: str,
        result_type: Any = Any,
    ) -> None:
        self._access = access
        self._result_type = result_type
        self.workflow_id = workflow_id
        self.run_id = run_id
        """The run that it was sent to; it may have been continued since."""
        self.update_id = update_id
        """The request id that it was sent with, or one that was made up."""

    async def result(self, timeout: Duration | None = None) -> R_co:
        """Wait until the handler has ended, however long, and return its result.

        Args:
            timeout: how long to wait, as ``timedelta`` or seconds; the update goes on regardless.

        Raises:
            UpdateError: it was rejected, failed, or was not done when the run ended.
            WorkflowClosedError: the run ended without taking it.
            TimeoutError: it has not ended in time.
            DurationError: the timeout is no time.
        """
        seconds = timeout_seconds("timeout of result()", timeout)
        result: R_co = await self._access.update_result(
            self.workflow_id, self.run_id, self.update_id, self._result_type, seconds
        )
        return result

    def __repr__(self) -> str:
        return f"<UpdateHandle {self.update_id!r} of {self.workflow_id!r}>"


def _call(
    kind: str,
    target: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    by_name: tuple[str, ...],
) -> tuple[Call, str | None]:
    """A call of a method with its arguments, or of a name with one payload and a request id."""
    if not isinstance(target, str):
        return Call(target, args, kwargs), None
    unknown = [name for name in kwargs if name not in by_name]
    if unknown or len(args) > 1 or (args and "payload" in kwargs):
        raise PayloadError(
            f"By its name the {kind} {target!r} takes one payload: give its arguments as a dict, "
            f"as in handle.{kind}({target!r}, {{'name': value}}), or the method in place of the "
            "name."
        )
    payload = args[0] if args else kwargs.get("payload")
    return Call(target, payload=payload), kwargs.get("request_id")
