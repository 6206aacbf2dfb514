"""How an activity's failure reaches the code that awaits it."""

from __future__ import annotations

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


def activity_error(name: str, event: ActivityFailed) -> ActivityFailedError:
    """The error that the code sees for an activity of that name that failed for good."""
    failure = event.failure
    tries = "once" if event.attempt == 1 else f"{event.attempt} times"
    return _ACTIVITY_ERRORS[failure.kind](
        f"Activity {name!r} was tried {tries} and failed: {failure.type}: {failure.message}",
        activity=name,
        attempts=event.attempt,
        cause_type=failure.type,
        cause_message=failure.message,
        cause_traceback=failure.traceback,
    )
