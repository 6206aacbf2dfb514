"""What the engine answers when a run is given its arrivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loom.history.events import Stamped
from loom.history.status import RunStatus
from loom.identifiers import Micros


@dataclass(frozen=True, slots=True)
class LoggedLine:
    """A line that the workflow's code logged; ``position`` counts from 1 within the run."""

    position: int
    at: Micros
    level: int
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One turn of a run: arrivals taken, with the commands that the code answered with."""

    events: Sequence[Stamped]
    """Each arrival, followed by the command events that it led to."""
    logs: Sequence[LoggedLine]
    status: RunStatus
    wake_at: Micros | None
    """When the next timer of the run is due."""
