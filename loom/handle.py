"""``WorkflowHandle``: a run as those outside of it see it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from loom.history.export import RunHistory
from loom.history.status import RunStatus
from loom.identifiers import RunId, WorkerId, WorkflowId


@dataclass(frozen=True, slots=True)
class PendingActivity:
    """An activity that a run is waiting for."""

    activity_id: int
    name: str
    queue: str
    attempt: int
    failures: int
    available_at: datetime
    worker: WorkerId | None
    last_failure: str | None
    waiting_for_worker_since: datetime | None = None
    """Since when a worker that has the activity, on its queue, should have taken it and none has;
    ``None`` when it is not due, or somebody is working on it."""


@dataclass(frozen=True, slots=True)
class WorkflowInfo:
    """Where a run stands. All times are UTC."""

    workflow_id: WorkflowId
    run_id: RunId
    name: str
    version: str
    queue: str
    status: RunStatus
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    wake_at: datetime | None
    """When the run's next timer is due."""
    history_length: int
    blocked_reason: str | None
    worker: WorkerId | None
    """Who is working on it now."""
    activities: list[PendingActivity]
    """What it is waiting for; filled by ``WorkflowHandle.info()`` alone."""
    waiting_for_worker_since: datetime | None = None
    """Since when a worker that has this workflow in this version, on this queue, should have taken
    the run and none has; ``None`` when nothing is due, or somebody is working on it. Workers are
    not known to the database: this is how a run that none of them serves shows up."""


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One event of a run's history, for people and tools.

    ``value`` is the user's own value that the event carries, as plain JSON values.
    """

    sequence: int
    recorded_at: datetime
    type: str
    attributes: dict[str, Any]
    value: Any
    has_value: bool


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a workflow's code logged."""

    position: int
    logged_at: datetime
    level: str
    message: str


class RunAccess(ABC):
    """What a handle asks of the client that made it."""

    @abstractmethod
    async def result(
        self, workflow_id: WorkflowId, run_id: RunId | None, declared: Any, timeout: float | None
    ) -> Any: ...

    @abstractmethod
    async def info(self, workflow_id: WorkflowId, run_id: RunId | None) -> WorkflowInfo: ...

    @abstractmethod
    async def signal(
        self,
        workflow_id: WorkflowId,
        run_id: RunId | None,
        name: str,
        payload: Any,
        request_id: str | None,
    ) -> None: ...

    @abstractmethod
    async def cancel(self, workflow_id: WorkflowId, run_id: RunId | None, reason: str) -> None: ...

    @abstractmethod
    async def terminate(
        self, workflow_id: WorkflowId, run_id: RunId | None, reason: str
    ) -> None: ...

    @abstractmethod
    async def history(
        self, workflow_id: WorkflowId, run_id: RunId | None
    ) -> list[HistoryEvent]: ...

    @abstractmethod
    async def export(self, workflow_id: WorkflowId, run_id: RunId | None) -> RunHistory: ...

    @abstractmethod
    async def logs(self, workflow_id: WorkflowId, run_id: RunId | None) -> list[LogLine]: ...


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
    ) -> None:
        self._access = access
        self._result_type = result_type
        self.workflow_id = workflow_id
        self.run_id = run_id
        """The one run that is meant; ``None`` for the newest with the workflow id."""

    async def result(self, timeout: timedelta | float | None = None) -> R_co:
        """Wait until the run has closed, however long, and return its result.

        Args:
            timeout: how long to wait, as ``timedelta`` or seconds; the run goes on regardless.

        Raises:
            WorkflowExecutionError: it failed, was cancelled or was terminated.
            TimeoutError: it has not closed in time.
        """
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        result: R_co = await self._access.result(
            self.workflow_id, self.run_id, self._result_type, seconds
        )
        return result

    async def status(self) -> RunStatus:
        return (await self.info()).status

    async def info(self) -> WorkflowInfo:
        """Where the run stands, and what it is waiting for."""
        return await self._access.info(self.workflow_id, self.run_id)

    async def signal(
        self, name: str, payload: Any = None, *, request_id: str | None = None
    ) -> None:
        """Send a signal; it is durable when this returns.

        Args:
            request_id: sending again with the same one delivers nothing twice.

        Raises:
            WorkflowClosedError: the run has ended.
            PayloadError: the payload cannot be stored.
        """
        await self._access.signal(self.workflow_id, self.run_id, name, payload, request_id)

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
