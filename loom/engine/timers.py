"""The running timers of one run."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from loom.engine.loop import TimerService
from loom.engine.recorder import Recorder
from loom.history.events import TimerCancelled, TimerFired, TimerStarted
from loom.identifiers import END_OF_TIME, Micros


class Timers(TimerService):
    """Timers by id, with the next due one at hand; cancelled ones are dropped lazily."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._heap: list[tuple[Micros, int]] = []

    # --- what the code asks for ---

    def start_timer(self, fire_at: Micros, callback: Callable[[], object]) -> int:
        recorder = self._recorder
        asked = TimerStarted(recorder.next_id(), min(fire_at, END_OF_TIME))
        recorded = recorder.record(asked)
        self._callbacks[recorded.timer_id] = callback
        heapq.heappush(self._heap, (recorded.fire_at, recorded.timer_id))
        return recorded.timer_id

    def cancel_timer(self, timer_id: int) -> None:
        if self._callbacks.pop(timer_id, None) is not None:
            self._recorder.record(TimerCancelled(timer_id))

    async def sleep_until(self, moment: Micros) -> None:
        if moment <= self._recorder.now:
            await asyncio.sleep(0)
            return
        future = self._recorder.loop.create_future()
        timer_id = self.start_timer(moment, lambda: _wake(future))
        try:
            await future
        except asyncio.CancelledError:
            self.cancel_timer(timer_id)
            raise

    # --- what arrives ---

    def expects(self, event: TimerFired) -> bool:
        return event.timer_id in self._callbacks

    def on_fired(self, event: TimerFired) -> None:
        """Run the timer's callback, unless it was cancelled."""
        self._recorder.check_asked(event, event.timer_id)
        callback = self._callbacks.pop(event.timer_id, None)
        if callback is not None:
            callback()

    # --- what the runner asks ---

    def take_due(self, now: Micros) -> list[int]:
        """The ids of running timers that are due, in the order of their moments.

        Each is given out once: whoever takes it goes on to deliver it.
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


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
