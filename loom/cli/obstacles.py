"""What keeps an open run from going on, as far as that can be seen from outside."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import click

import loom
from loom.cli.output import duration, harmless
from loom.history.status import RunStatus

_MESSAGES: Final = {
    "SIGNAL_RECEIVED": "signal",
    "UPDATE_REQUESTED": "update",
    "WORKFLOW_CANCEL_REQUESTED": "request to cancel",
    "WORKFLOW_TERMINATED": "request to terminate",
    "ACTIVITY_COMPLETED": "result of an activity",
    "ACTIVITY_FAILED": "failure of an activity",
}

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
    """What blocks a run, in one line; ``None`` when nothing does."""
    lines = (info.blocked_reason or "").strip().splitlines()
    if not lines:
        return None
    if lines[0].startswith("Traceback "):
        return lines[-1]
    return lines[0] if len(lines) == 1 else f"{lines[0].rstrip(':.')} (`loom show` tells more)."


def what_unblocks(info: loom.WorkflowInfo) -> str:
    """What somebody can do about a run that is BLOCKED."""
    if info.lost_owners:
        return f"`loom terminate {_quoted(info.workflow_id)}` ends it, and asks no code."
    if not info.history_length:
        # Nothing of it has run, so nothing is lost by beginning anew.
        return (
            "Give its workers code that takes this, or start it anew, which loses nothing:\n"
            f"  loom start {_quoted(info.name)} --version {_quoted(info.version)} "
            f"--id {_quoted(info.workflow_id)} --on-conflict terminate_existing --input ..."
        )
    return (
        "It is tried again now and then, and by every new worker: it goes on where code fits.\n"
        f"`loom check` tells of code before; `loom terminate {_quoted(info.workflow_id)}` ends it."
    )


def in_inbox(info: loom.WorkflowInfo) -> str | None:
    """What a run has been sent and has not taken yet; ``None`` when there is nothing."""
    told = Counter(
        _MESSAGES.get(message.type, message.type) + (f" {message.name}" if message.name else "")
        for message in info.messages
        if message.type != "WORKFLOW_STARTED"
    )
    return ", ".join(f"{what} ({n})" if n > 1 else what for what, n in told.items()) or None


def tell_if_blocked(info: loom.WorkflowInfo) -> None:
    """Who sends something to a run that is BLOCKED should know that it is not taken yet."""
    if info.status is RunStatus.BLOCKED:
        click.echo(
            f"{harmless(info.workflow_id)} is BLOCKED, so this waits until a worker has code that "
            f"fits: {harmless(blocked_in_short(info) or '')}",
            err=True,
        )


def _quoted(text: str) -> str:
    return shlex.quote(harmless(text))
