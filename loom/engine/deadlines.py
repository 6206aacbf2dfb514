"""When a run stops waiting for its activities, whether or not any worker is alive."""

from __future__ import annotations

import heapq
from collections.abc import Container
from typing import NamedTuple

from loom.history.events import ActivityFailed, ActivityScheduled
from loom.history.failures import Failure, FailureKind
from loom.identifiers import MICROS_PER_SECOND, Micros
from loom.timeouts import TimeoutType


class _Deadline(NamedTuple):
    at: Micros
    activity_id: int
    kind: TimeoutType
    limit: Micros


_OVERDUE = {
    TimeoutType.SCHEDULE_TO_START: "no worker began with it for {:g} s",
    TimeoutType.SCHEDULE_TO_CLOSE: "it took longer than {:g} s in all",
}


class Deadlines:
    """The deadlines of one run's activities, counted from the recorded moment of asking; those of
    activities that are over are dropped lazily."""

    def __init__(self) -> None:
        self._heap: list[_Deadline] = []
        self._not_begun: set[int] = set()

    def set(self, scheduled: ActivityScheduled, now: Micros) -> None:
        """Begin to count for an activity that is asked for now."""
        for kind, limit in (
            (TimeoutType.SCHEDULE_TO_START, scheduled.schedule_to_start),
            (TimeoutType.SCHEDULE_TO_CLOSE, scheduled.schedule_to_close),
        ):
            if limit is not None:
                deadline = _Deadline(now + limit, scheduled.activity_id, kind, limit)
                heapq.heappush(self._heap, deadline)
        if scheduled.schedule_to_start is not None:
            self._not_begun.add(scheduled.activity_id)

    def begun(self, activity_id: int) -> None:
        """It has been begun in time."""
        self._not_begun.discard(activity_id)

    def take_due(self, now: Micros, waiting: Container[int]) -> list[ActivityFailed]:
        """What has become of those that are due; each is given out once."""
        due = []
        while (next_at := self.next_at(waiting)) is not None and next_at <= now:
            due.append(_failure(heapq.heappop(self._heap)))
        return due

    def next_at(self, waiting: Container[int]) -> Micros | None:
        """When the next one is due."""
        heap = self._heap
        while heap and not self._counts(heap[0], waiting):
            heapq.heappop(heap)
        return heap[0].at if heap else None

    def _counts(self, deadline: _Deadline, waiting: Container[int]) -> bool:
        if deadline.activity_id not in waiting:
            return False
        is_for_start = deadline.kind is TimeoutType.SCHEDULE_TO_START
        return not is_for_start or deadline.activity_id in self._not_begun


def _failure(deadline: _Deadline) -> ActivityFailed:
    message = _OVERDUE[deadline.kind].format(deadline.limit / MICROS_PER_SECOND)
    failure = Failure("TimeoutError", message, kind=FailureKind.TIMEOUT)
    # How often it was tried is known to whoever has its task.
    return ActivityFailed(deadline.activity_id, 0, failure, deadline.kind)
