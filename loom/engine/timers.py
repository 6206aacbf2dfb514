"""The running timers of one run."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from loom.identifiers import Micros


class Timers:
    """Timers by id, with the next due one at hand; cancelled ones are dropped lazily."""

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._heap: list[tuple[Micros, int]] = []

    def start(self, timer_id: int, fire_at: Micros, callback: Callable[[], object]) -> None:
        self._callbacks[timer_id] = callback
        heapq.heappush(self._heap, (fire_at, timer_id))

    def cancel(self, timer_id: int) -> bool:
        """Whether the timer was still running."""
        return self._callbacks.pop(timer_id, None) is not None

    def fire(self, timer_id: int) -> None:
        """Run the timer's callback, unless it was cancelled."""
        callback = self._callbacks.pop(timer_id, None)
        if callback is not None:
            callback()

    def is_running(self, timer_id: int) -> bool:
        return timer_id in self._callbacks

    def take_due(self, now: Micros) -> list[int]:
        """The ids of running timers that are due, in the order of their moments.

        Each is given out once: whoever takes it goes on to ``fire`` it.
        """
        due = []
        while self._heap and self._heap[0][0] <= now:
            timer_id = heapq.heappop(self._heap)[1]
            if timer_id in self._callbacks:
                due.append(timer_id)
        return due

    @property
    def next_at(self) -> Micros | None:
        """When the next timer is due; ``None`` when none is running."""
        heap = self._heap
        while heap and heap[0][1] not in self._callbacks:
            heapq.heappop(heap)
        return heap[0][0] if heap else None
