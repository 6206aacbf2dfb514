"""What the engine answers when a run is given its arrivals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from loom.authoring.activity import ActivityDefinition
from loom.history.events import ActivityScheduled, Stamped, UpdateAnswer, WorkflowContinuedAsNew
from loom.history.limits import RunLimits
from loom.history.relatives import ChildRun, ParentRun
from loom.history.status import RunStatus
from loom.identifiers import Micros, RunId, WorkflowId
from loom.retry import RetryTerms
from loom.values import value


@value(frozen=True, slots=True)
class LoggedLine:
    """A line that the workflow's code logged; ``position`` counts from 1 within the run."""

    position: int
    at: Micros
    level: int
    message: str


@value(frozen=True, slots=True)
class Carried:
    """What a run hands on to the one that continues it."""

    state: bytes | None = None
    signals: Sequence[tuple[str, bytes]] = ()
    """Those that its code never took, in order of arrival."""
    tags: Mapping[str, str] = field(default_factory=dict)
    memo: bytes | None = None
    limits: RunLimits | None = None
    retry: RetryTerms | None = None
    again: WorkflowContinuedAsNew | None = None
    """Of a run that failed, what the one that tries it again is started with."""
    attempt: int = 1
    """The number of the next try."""


@value(frozen=True, slots=True)
class Relatives:
    """A run, and those that are to hear of it."""

    workflow_id: WorkflowId
    run_id: RunId
    parent: ParentRun | None = None
    children: Sequence[ChildRun] = ()
    """Those that are open while it closes."""
    carried: Carried = Carried()


@value(frozen=True, slots=True)
class LocalCall:
    """A local activity that the code waits for."""

    scheduled: ActivityScheduled
    at: Micros
    """The recorded moment of asking."""
    activity: ActivityDefinition | None
    """What the code named, where that is known."""


@value(frozen=True, slots=True)
class Decision:
    """One turn of a run: arrivals taken, with the commands that the code answered with."""

    events: Sequence[Stamped]
    """Each arrival, followed by the command events that it led to."""
    logs: Sequence[LoggedLine]
    status: RunStatus
    wake_at: Micros | None
    """When the next timer of the run is due."""
    relatives: Relatives
    taken: int = 0
    """How many of the arrivals were looked at: those after the run's end were not."""
    answers: Sequence[UpdateAnswer] = ()
    """What the senders of updates are told."""
