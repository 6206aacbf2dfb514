"""What handles need of the client that made them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loom.history.export import RunHistory
from loom.identifiers import RunId, WorkflowId
from loom.info import HistoryEvent, LogLine, WorkflowInfo


@dataclass(frozen=True, slots=True)
class Call:
    """A signal, query or update: the handler's method with its arguments, or a name with a
    payload."""

    target: Callable[..., Any] | str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    payload: Any = None


@dataclass(frozen=True, slots=True)
class SentUpdate:
    """An update that is on disk: what it takes to get its result."""

    run_id: RunId
    update_id: str
    result_type: Any


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
        call: Call,
        code: object,
        request_id: str | None,
    ) -> None: ...

    @abstractmethod
    async def query(
        self, workflow_id: WorkflowId, run_id: RunId | None, call: Call, code: object
    ) -> Any: ...

    @abstractmethod
    async def start_update(
        self,
        workflow_id: WorkflowId,
        run_id: RunId | None,
        call: Call,
        code: object,
        update_id: str | None,
    ) -> SentUpdate: ...

    @abstractmethod
    async def update_result(
        self,
        workflow_id: WorkflowId,
        run_id: RunId | None,
        update_id: str,
        declared: Any,
        timeout: float | None,
    ) -> Any: ...

    @abstractmethod
    async def cancel(self, workflow_id: WorkflowId, run_id: RunId | None, reason: str) -> None: ...

    @abstractmethod
    async def terminate(
        self, workflow_id: WorkflowId, run_id: RunId | None, reason: str
    ) -> None: ...

    @abstractmethod
    async def retry(self, workflow_id: WorkflowId, run_id: RunId | None) -> None: ...

    @abstractmethod
    async def history(
        self, workflow_id: WorkflowId, run_id: RunId | None
    ) -> list[HistoryEvent]: ...

    @abstractmethod
    async def export(self, workflow_id: WorkflowId, run_id: RunId | None) -> RunHistory: ...

    @abstractmethod
    async def logs(self, workflow_id: WorkflowId, run_id: RunId | None) -> list[LogLine]: ...
