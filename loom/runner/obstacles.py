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
    """Tells once of each thing that keeps one run up, when it has been waited for for a while.
    Without it, whoever forgot the worker would wait for ever, and not know for what."""

    def __init__(self, began: Micros) -> None:
        self._began = began
        self._told: set[RunStatus] = set()

    def look(self, run: RunRecord, now: Micros) -> None:
        is_blocked = run.status is RunStatus.BLOCKED
        since = run.updated_at if is_blocked else run.due_at
        # Who waits in short steps, time after time, looks for what is wrong by himself.
        if since is None or now - max(since, self._began) < PROMPT or run.status in self._told:
            return
        self._told.add(run.status)
        obstacle = _blocked(run) if is_blocked else _unserved(run, now - since)
        _log.warning("workflow %s, whose result is waited for, %s", run.workflow_id, obstacle)


def _blocked(run: RunRecord) -> str:
    return f"is BLOCKED until a worker has code that fits: {run.blocked_reason}"


def _unserved(run: RunRecord, wait: Micros) -> str:
    needed = f"one of the queue {run.queue!r} with {run.name!r}, version {run.version!r}"
    seconds = shown(wait // MICROS_PER_SECOND)
    return f"has not been taken by any worker for {seconds}: it needs {needed}, that is not busy"
