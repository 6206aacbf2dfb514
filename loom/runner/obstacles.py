"""What keeps an open run from going on, told to the log of who waits for its end."""

from __future__ import annotations

import logging
from typing import Final

from loom.durations import shown
from loom.history.status import RunStatus
from loom.identifiers import MICROS_PER_SECOND, Micros
from loom.storage.records import RunRecord

_log = logging.getLogger("loom.client")

PROMPT: Final = 5 * MICROS_PER_SECOND
"""By then a worker that is there, and not very busy, has taken what is due, and one that is just
being deployed has tried what is BLOCKED."""


class Obstacles:
    """Tells once of each thing that keeps one run up. Without it, whoever forgot the worker would
    wait for ever, and not know for what."""

    def __init__(self) -> None:
        self._told: set[RunStatus] = set()

    def look(self, run: RunRecord, now: Micros) -> None:
        obstacle = _obstacle(run, now)
        if obstacle is not None and run.status not in self._told:
            self._told.add(run.status)
            _log.warning("workflow %s, whose result is waited for, %s", run.workflow_id, obstacle)


def _obstacle(run: RunRecord, now: Micros) -> str | None:
    is_blocked = run.status is RunStatus.BLOCKED
    since = run.updated_at if is_blocked else run.due_at
    if since is None or now - since < PROMPT:
        return None
    if is_blocked:
        return f"is BLOCKED until a worker has code that fits: {run.blocked_reason}"
    needed = f"one of the queue {run.queue!r} with {run.name!r}, version {run.version!r}"
    seconds = shown((now - since) // MICROS_PER_SECOND)
    return f"has not been taken by any worker for {seconds}: it needs {needed}, that is not busy"
