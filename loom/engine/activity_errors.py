"""How an activity's failure reaches the code that awaits it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from loom.errors import ActivityFailedError, ActivityLostError, ActivityTimeoutError
from loom.history.events import ActivityFailed
from loom.history.failures import FailureKind


class ActivityFailure(Exception):
    """Carries an ``ActivityFailed`` event to whoever awaits the activity."""

    def __init__(self, event: ActivityFailed) -> None:
        super().__init__(event.failure.message)
        self.event = event


_ACTIVITY_ERRORS: dict[FailureKind, type[ActivityFailedError]] = {
    FailureKind.ERROR: ActivityFailedError,
    FailureKind.TIMEOUT: ActivityTimeoutError,
    FailureKind.LOST: ActivityLostError,
}


def activity_error(
    name: str, event: ActivityFailed, decode: Callable[[bytes, Any], Any]
) -> ActivityFailedError:
    """The error that the code sees for an activity of that name that failed for good."""
    failure, details = event.failure, event.payload
    error = _ACTIVITY_ERRORS[failure.kind](
        f"Activity {name!r} {_tried(event)} and failed: {failure.type}: {failure.message}",
        activity=name,
        attempts=event.attempt,
        cause_type=failure.type,
        cause_message=failure.message,
        cause_traceback=failure.traceback,
        details=None if details is None else decode(details, Any),
        read_details=None if details is None else partial(decode, details),
    )
    if isinstance(error, ActivityTimeoutError):
        error.timeout = event.timeout
    return error


def _tried(event: ActivityFailed) -> str:
    if event.attempt == 0:
        return "was never tried"
    return "was tried once" if event.attempt == 1 else f"was tried {event.attempt} times"
