"""What people and tools are shown of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from loom.history.status import RunStatus
from loom.history.tags import TagValue
from loom.identifiers import RunId, WorkerId, WorkflowId


@dataclass(frozen=True, slots=True)
class PendingActivity:
    """An activity that a run is waiting for."""

    activity_id: int
    name: str
    queue: str
    attempt: int
    failures: int
    available_at: datetime
    worker: WorkerId | None
    last_failure: str | None
    waiting_for_worker_since: datetime | None = None
    """Since when a worker that has the activity, on its queue, should have taken it and none has;
    ``None`` when it is not due, or somebody is working on it."""
    is_parked: bool = False
    """Whether its attempt goes on without a worker, until it is completed from outside."""


@dataclass(frozen=True, slots=True)
class PendingMessage:
    """Something that was sent to a run and that it has not taken yet."""

    type: str
    """The event that it becomes: ``SIGNAL_RECEIVED``, ``WORKFLOW_CANCEL_REQUESTED``, ..."""
    name: str | None = None
    """Of a signal or an update."""


@dataclass(frozen=True, slots=True)
class WorkflowInfo:
    """Where a run stands. All times are UTC."""

    workflow_id: WorkflowId
    run_id: RunId
    name: str
    version: str
    queue: str
    status: RunStatus
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    wake_at: datetime | None
    """When the run's next timer is due."""
    history_length: int
    blocked_reason: str | None
    worker: WorkerId | None
    """Who is working on it now."""
    activities: list[PendingActivity]
    """What it is waiting for; filled by ``WorkflowHandle.info()`` alone."""
    messages: list[PendingMessage] = field(default_factory=list)
    """What waits in its inbox, in order; filled by ``WorkflowHandle.info()`` alone."""
    waiting_for_worker_since: datetime | None = None
    """Since when a worker that has this workflow in this version, on this queue, should have taken
    the run and none has; ``None`` when nothing is due, or somebody is working on it. Workers are
    not known to the database: this is how a run that none of them serves shows up."""
    start_at: datetime | None = None
    """When its code begins, if it was to begin later than it was created."""
    deadline: datetime | None = None
    """When it times out, if it is still open then."""
    tags: dict[str, TagValue] = field(default_factory=dict)
    memo: Any = None
    """As JSON has it; whoever reads it needs the codecs that it was written with."""
    continued_from: RunId | None = None
    """The run before it in its chain; ``None`` when it continues none."""
    lost_owners: int = 0
    """How many workers in a row were lost while they held it; see ``Settings.max_lost_owners``."""
    first_run_id: RunId = ""
    """The run that its chain began with: itself, when it continues none."""


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One event of a run's history, for people and tools.

    ``value`` is the user's own value that the event carries, as plain JSON values.
    """

    sequence: int
    recorded_at: datetime
    type: str
    attributes: dict[str, Any]
    value: Any
    has_value: bool


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a workflow's code logged."""

    position: int
    logged_at: datetime
    level: str
    message: str
