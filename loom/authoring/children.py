"""Children: other workflows that a run starts, and waits for if it likes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from loom.authoring.asking import asks
from loom.authoring.runtime import Runtime
from loom.errors import ChildWorkflowError
from loom.given import check_choice, check_id, check_text
from loom.history.relatives import ParentClosePolicy
from loom.identifiers import RunId, WorkflowId

type ParentClose = Literal["terminate", "cancel", "abandon"]
"""What becomes of a child that is open when its parent closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildOptions:
    """The keywords of a child's start, checked.

    Raises ``PayloadError`` for an id or name that no store could hold, and ``ConfigurationError``
    for an unknown policy.
    """

    id: WorkflowId | None = None
    version: str | None = None
    queue: str | None = None
    parent_close_policy: ParentClose = "terminate"
    policy: ParentClosePolicy = field(init=False)

    def __post_init__(self) -> None:
        for what, value in (
            ("workflow id", self.id),
            ("version", self.version),
            ("queue", self.queue),
        ):
            if value is not None:
                check_id(what, value)
        check_choice("parent_close_policy", self.parent_close_policy, list(ParentClosePolicy))
        object.__setattr__(self, "policy", ParentClosePolicy(self.parent_close_policy))


@dataclass(frozen=True, slots=True, eq=False)
class StartedChild:
    """A child as the engine knows it."""

    child_id: int
    workflow_id: WorkflowId
    run_id: RunId
    name: str
    outcome: asyncio.Future[bytes]
    result_type: Any


R_co = TypeVar("R_co", covariant=True)


# The old spelling, since a handle only ever gives results out and so is covariant in them.
class ChildHandle(Generic[R_co]):  # noqa: UP046
    """A child that a run has started."""

    def __init__(self, runtime: Runtime, child: StartedChild) -> None:
        self._runtime = runtime
        self._child = child

    @property
    def workflow_id(self) -> WorkflowId:
        return self._child.workflow_id

    @property
    def run_id(self) -> RunId:
        """The run that was started; when it continues as new, the first of its chain."""
        return self._child.run_id

    @asks("ChildHandle.result()")
    async def result(self) -> R_co:
        """Wait for the child to close and return its result.

        Cancelling the wait leaves the child alone.

        Raises ``ChildWorkflowError``, as one of its kinds, when the child did not complete.
        """
        result: R_co = await self._runtime.child_result(self._child)
        return result

    @asks("ChildHandle.signal()")
    async def signal(self, name: str, payload: Any = None) -> None:
        """Send the child a signal, when this turn is written. A child that has closed by then does
        not get it.

        Raises ``PayloadError`` when the payload cannot be stored.
        """
        check_id("signal name", name)
        self._runtime.send_signal(self.workflow_id, self.run_id, name, payload)

    @asks("ChildHandle.cancel()")
    async def cancel(self, *, reason: str = "") -> None:
        """Ask the child to end; it may clean up first. Does nothing when it has closed."""
        self._runtime.cancel_child(self._child, check_text("reason", reason))

    def __repr__(self) -> str:
        return f"<ChildHandle {self.workflow_id!r}>"


async def awaited(runtime: Runtime, child: StartedChild) -> Any:
    """A child's result, as if it were awaited in place: whoever cancels the wait cancels the child,
    and the wait is over when the child is."""
    try:
        return await runtime.child_result(child)
    except asyncio.CancelledError:
        if runtime.cancel_child(child, ""):
            with suppress(ChildWorkflowError):
                await runtime.child_result(child)
        raise
