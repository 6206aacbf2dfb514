"""What a turn means for activities: which it asks for, and which nobody waits for any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from loom.engine.decision import Decision
from loom.history.events import (
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
)
from loom.identifiers import Micros
from loom.timeouts import TimeoutType
from loom.values import value


@value(frozen=True, slots=True)
class Asked:
    """An activity that a turn asks for, and that is for whoever takes its task."""

    scheduled: ActivityScheduled
    position: int
    """Of its event within the turn, from 0."""
    at: Micros


@value(frozen=True, slots=True)
class ActivityChanges:
    """All of it, found in one look at the turn's events."""

    asked: Sequence[Asked]
    """Those that the turn did not call off again."""
    ended: Sequence[int]
    """Those that it called off, or took the outcome of."""
    finished: Sequence[int]
    """Those of them that earlier turns asked for."""
    called_off: Collection[int]
    """Earlier ones that it no longer waits for, though they may be running."""


def activity_changes(decision: Decision) -> ActivityChanges:
    """What a decision means for activities; one that closes the run asks for none."""
    asked: list[Asked] = []
    begun: set[int] = set()
    ended: list[int] = []
    cancelled: set[int] = set()
    late: set[int] = set()
    for position, stamped in enumerate(decision.events):
        event = stamped.event
        if isinstance(event, ActivityScheduled):
            begun.add(event.activity_id)
            if not event.local:
                asked.append(Asked(event, position, stamped.at))
        elif isinstance(event, _ENDS):
            ended.append(event.activity_id)
            if isinstance(event, ActivityCancelRequested):
                cancelled.add(event.activity_id)
            elif isinstance(event, ActivityFailed) and _is_late(event):
                late.add(event.activity_id)
    if cancelled:
        asked = [each for each in asked if each.scheduled.activity_id not in cancelled]
    return ActivityChanges(
        asked=asked if decision.status.is_open else (),
        ended=ended,
        finished=[each for each in ended if each not in begun] if begun else ended,
        called_off=(cancelled | late) - begun if cancelled or late else (),
    )


# Looked up in the class, which is quicker than in a union that is made for each look.
_ENDS = (ActivityCompleted, ActivityFailed, ActivityCancelRequested)


def _is_late(event: ActivityFailed) -> bool:
    """Whether the run stopped waiting of itself."""
    return event.timeout is TimeoutType.SCHEDULE_TO_CLOSE
