"""What an activity's code may ask while it runs: which attempt it is, and how it says it lives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, overload

from loom.errors import LoomError
from loom.identifiers import RunId, WorkflowId

HEARTBEAT: Final = "The details of a heartbeat"
"""What they are called where they cannot be stored or read."""


class AttemptAccess(ABC):
    """What an attempt's code asks of whatever runs it, from any thread."""

    @property
    @abstractmethod
    def cancelled(self) -> bool: ...

    @property
    @abstractmethod
    def task_token(self) -> str: ...

    @abstractmethod
    def heartbeat(self, details: Any) -> None: ...

    @abstractmethod
    def heartbeat_details(self, declared: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class ActivityInfo:
    """Which attempt is running. ``activity_key`` is the same for every attempt of one call, and
    for no other call: a good idempotency key towards other systems."""

    activity: str
    workflow_id: WorkflowId
    run_id: RunId
    activity_id: int
    attempt: int
    failures: int = 0
    """How many of the attempts before this one ended in an error; the others were lost with their
    worker."""
    _access: AttemptAccess | None = field(default=None, repr=False, compare=False)

    @property
    def activity_key(self) -> str:
        return f"{self.run_id}/{self.activity_id}"

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the outcome of this attempt any more: the activity was cancelled,
        it ran out of time, or another worker has taken it over. For plain functions, which have to
        look; ``async`` ones are cancelled."""
        return self._access is not None and self._access.cancelled

    @property
    def task_token(self) -> str:
        """With this, and by ``Loom.complete_activity``, anybody may end this very attempt once it
        has raised ``CompleteLater``. Raises ``LoomError`` where the attempt has no task of its own,
        as in a local activity."""
        if self._access is None:
            raise LoomError(f"Activity {self.activity!r} has no task token here.")
        return self._access.task_token

    @overload
    def heartbeat_details(self) -> Any: ...

    @overload
    def heartbeat_details[T](self, *, type: type[T]) -> T | None: ...

    def heartbeat_details(self, *, type: Any = Any) -> Any:
        """What an earlier attempt last said by ``loom.heartbeat``; ``None`` when none said
        anything. Raises ``PayloadError`` when it does not fit the type."""
        return None if self._access is None else self._access.heartbeat_details(type)


CURRENT_ACTIVITY: Final[ContextVar[ActivityInfo]] = ContextVar("loom_current_activity")


def activity_info() -> ActivityInfo:
    """Which activity attempt this code runs in. Raises ``LoomError`` outside of any."""
    try:
        return CURRENT_ACTIVITY.get()
    except LookupError:
        raise LoomError("activity_info() was called outside of an activity.") from None


def heartbeat(details: Any = None) -> None:
    """Say that the activity is alive, and how far it is.

    Cheap: call it as often as you like, it is written about once a second. What is lost with a
    worker that dies is at most what was said since. Does nothing when the function is called
    outside of any attempt, as in its own tests.

    Args:
        details: any value that can be stored; the next attempt reads the last one by
            ``activity_info().heartbeat_details()``.

    Raises:
        ActivityCancelledError: nobody wants the outcome any more. Only in plain functions, since
            ``async`` ones are cancelled.
        PayloadError: the details cannot be stored.
    """
    info = CURRENT_ACTIVITY.get(None)
    if info is not None and info._access is not None:
        info._access.heartbeat(details)
