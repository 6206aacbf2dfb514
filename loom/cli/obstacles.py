"""What keeps an open run from going on, as far as that can be seen from outside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import loom
from loom.cli.output import duration
from loom.history.status import RunStatus

_PROMPT: Final = timedelta(seconds=2)
"""By then a worker that is there, and not busy, has taken what is due."""


@dataclass(frozen=True)
class Obstacle:
    """Why a run may not go on without somebody's help; told the same as long as it is the same."""

    what: str
    since: datetime | None = None
    needs: str = ""

    def __str__(self) -> str:
        lasting = f" for {duration(datetime.now(UTC) - self.since)}" if self.since else ""
        return f"{self.what}{lasting}{self.needs and f': it needs {self.needs}'}"


def obstacle(info: loom.WorkflowInfo) -> Obstacle | None:
    """What keeps a run up; ``None`` if nothing is odd."""
    if info.status is RunStatus.BLOCKED:
        return Obstacle(f"it is BLOCKED: {blocked_in_short(info)}")
    # A run that nobody has begun is told of at once: mostly its worker was forgotten.
    if not info.history_length or is_overdue(info.waiting_for_worker_since):
        missing = missing_worker(info)
        if missing is not None:
            return missing
    for activity in info.activities:
        if is_overdue(activity.waiting_for_worker_since):
            return Obstacle(
                f"no worker has taken the activity {activity.name}",
                activity.waiting_for_worker_since,
                f"a worker of the queue {activity.queue!r} that has it and is not busy",
            )
    return None


def missing_worker(info: loom.WorkflowInfo) -> Obstacle | None:
    """What it needs to be taken; ``None`` when it is not due, or is being worked on."""
    if info.waiting_for_worker_since is None:
        return None
    return Obstacle(
        "no worker has taken it",
        info.waiting_for_worker_since,
        f"a worker of the queue {info.queue!r} with {info.name}, version {info.version}",
    )


def is_overdue(since: datetime | None) -> bool:
    """Whether what waits for a worker since then has waited longer than it does for a busy one."""
    return since is not None and datetime.now(UTC) - since > _PROMPT


def blocked_in_short(info: loom.WorkflowInfo) -> str | None:
    """What blocks a run, without a traceback; ``None`` when nothing does."""
    lines = (info.blocked_reason or "").strip().splitlines()
    if not lines:
        return None
    return lines[-1] if lines[0].startswith("Traceback ") else lines[0]
