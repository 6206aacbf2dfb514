"""Children: other workflows that a run starts, and waits for if it likes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Concatenate, Generic, Literal, TypedDict, TypeVar, overload

from loom.authoring.asking import asks
from loom.authoring.outgoing import outgoing_signal
from loom.authoring.runtime import Runtime
from loom.authoring.starting import check_limits, check_retry, limits_from
from loom.durations import Duration
from loom.errors import ChildWorkflowError
from loom.given import check_choice, check_id, check_keywords, check_text
from loom.history.limits import RunLimits
from loom.history.relatives import ParentClosePolicy
from loom.history.tags import TagValue, encode_tags
from loom.identifiers import Micros, RunId, WorkflowId
from loom.retry import RetryPolicy

type ParentClose = Literal["terminate", "cancel", "abandon"]
"""What becomes of a child that is open when its parent closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildOptions:
    """The keywords of a child's start, checked.

    Raises ``PayloadError`` for an id, name or tag that no store could hold, and
    ``ConfigurationError`` for policies that there are not and times that are none
    (``DurationError``).
    """

    id: WorkflowId | None = None
    version: str | None = None
    queue: str | None = None
    parent_close_policy: ParentClose = "terminate"
    run_timeout: Duration | None = None
    execution_timeout: Duration | None = None
    retry: RetryPolicy | None = None
    memo: Any = None
    tags: Mapping[str, TagValue] | None = None
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
        check_retry(self.retry)
        check_limits(self.run_timeout, self.execution_timeout)

    @property
    def stored_tags(self) -> dict[str, str] | None:
        return None if self.tags is None else encode_tags(self.tags) or None

    def limits(self, begins_at: Micros) -> RunLimits | None:
        """How long a child that begins then, and its chain, may take."""
        return limits_from(begins_at, self.run_timeout, self.execution_timeout)


class ChildKeywords(TypedDict, total=False):
    """What the type checkers know of the keywords of a child's start; ``child`` explains them."""

    id: WorkflowId | None
    queue: str | None
    parent_close_policy: ParentClose
    run_timeout: Duration | None
    execution_timeout: Duration | None
    retry: RetryPolicy | None
    memo: Any
    tags: Mapping[str, TagValue] | None


def child_options(call: str, version: str | None, given: ChildKeywords) -> ChildOptions:
    """The keywords of a call, checked. Raises ``TypeError`` for one that there is not."""
    check_keywords(call, given, ("version", *ChildKeywords.__annotations__))
    return ChildOptions(version=version, **given)


@dataclass(frozen=True, slots=True, eq=False)
class StartedChild:
    """A child as the engine knows it."""

    child_id: int
    workflow_id: WorkflowId
    run_id: RunId
    name: str
    outcome: asyncio.Future[bytes]
    result_type: Any
    cls: type | None = None
    """The child's class, where that is known."""


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

    @overload
    async def signal(self, name: str, /, payload: Any = None) -> None: ...

    @overload
    async def signal[**P](
        self, signal: Callable[Concatenate[Any, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None: ...

    @asks("ChildHandle.signal()")
    async def signal(self, signal: Any, /, *args: Any, **kwargs: Any) -> None:
        """Send the child a signal, when this turn is written. A child that has closed by then does
        not get it.

        Args:
            signal: the handler, as in ``child.signal(Order.add_item, item)``, with its arguments;
                or a name, with a payload.

        Raises:
            PayloadError: the payload cannot be stored, or does not fit the handler's parameters.
            DefinitionError: the method is no signal handler.
        """
        sent = outgoing_signal(signal, args, kwargs, self._child.cls)
        self._runtime.send_signal(self.workflow_id, self.run_id, sent)

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
