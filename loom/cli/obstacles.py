"""What keeps an open run from going on, as far as that can be seen from outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import loom
from loom.history.status import RunStatus

_PROMPT: Final = timedelta(seconds=2)
"""By then a worker that is not busy has taken an activity."""


def obstacle(info: loom.WorkflowInfo) -> str | None:
    """Why a run may not go on without somebody's help, in one line; ``None`` if nothing is odd."""
    if info.status is RunStatus.BLOCKED:
        return f"it is BLOCKED: {blocked_in_short(info)}"
    if info.status is RunStatus.RUNNING and not info.history_length and not info.worker:
        return (
            "no worker has taken it yet; it needs one "
            f"with {info.name}, version {info.version}, on the queue {info.queue!r}"
        )
    for activity in info.activities:
        if not activity.worker and datetime.now(UTC) - activity.available_at > _PROMPT:
            return (
                f"no worker has taken the activity {activity.name} yet; it needs one with it, on "
                f"the queue {activity.queue!r}, that is not busy"
            )
    return None


def blocked_in_short(info: loom.WorkflowInfo) -> str | None:
    """What blocks a run, without a traceback; ``None`` when nothing does."""
    lines = (info.blocked_reason or "").strip().splitlines()
    if not lines:
        return None
    return lines[-1] if lines[0].startswith("Traceback ") else lines[0]
