"""The activities that one run waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from loom.authoring.activity import ActivityDefinition
from loom.engine.activity_errors import ActivityFailure, activity_error
from loom.engine.deadlines import Deadlines
from loom.engine.decision import LocalCall
from loom.engine.recorder import Recorder
from loom.history.events import (
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
)
from loom.identifiers import Micros


class Activities:
    """Activities by id, from asking to outcome."""

    def __init__(self, recorder: Recorder, queue: str) -> None:
        self._recorder = recorder
        self._queue = queue
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._deadlines = Deadlines()
        self._local: dict[int, LocalCall] = {}
        self._local_to_begin: dict[int, LocalCall] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    # --- what the code asks for ---

    async def run(
        self, activity: ActivityDefinition, arguments: Mapping[str, Any], *, local: bool
    ) -> Any:
        recorder = self._recorder
        payload = recorder.encode(
            arguments, activity.arguments_type, "The arguments of activity", activity.name
        )
        scheduled = activity.scheduled(recorder.next_id(), self._queue, payload)
        if local:
            scheduled = replace(scheduled, queue=self._queue, schedule_to_start=None, local=True)
        result = await self.replay_activity(scheduled, activity)
        return recorder.decode(
            result, activity.result_type, "The result of activity", activity.name
        )

    async def replay_activity(
        self, scheduled: ActivityScheduled, activity: ActivityDefinition | None = None
    ) -> bytes:
        """Ask for an activity, or match it with the one that history holds, and await its result.

        Raises ``ActivityFailedError`` when it fails for good.
        """
        recorder = self._recorder
        recorded = recorder.record(scheduled)
        if recorded.schedule_to_start is not None or recorded.schedule_to_close is not None:
            self._deadlines.set(recorded, recorder.now)
        activity_id = scheduled.activity_id
        if recorded.local:
            call = LocalCall(recorded, recorder.now, activity)
            self._local[activity_id] = self._local_to_begin[activity_id] = call
        future: asyncio.Future[bytes] = recorder.loop.create_future()
        self._waiting[activity_id] = future
        try:
            return await future
        except ActivityFailure as failure:
            raise activity_error(scheduled.name, failure.event, recorder.decode) from None
        except asyncio.CancelledError:
            # Only while it is still waited for: a result that has come cannot be called off.
            self._forget_local(activity_id)
            if self._waiting.pop(activity_id, None) is not None:
                recorder.record(ActivityCancelRequested(activity_id))
            raise

    # --- what arrives ---

    def expects(self, event: ActivityCompleted | ActivityFailed) -> bool:
        return event.activity_id in self._waiting

    def on_completed(self, event: ActivityCompleted) -> None:
        future = self._take(event)
        if future is not None:
            future.set_result(event.payload)

    def on_failed(self, event: ActivityFailed) -> None:
        future = self._take(event)
        if future is not None:
            future.set_exception(ActivityFailure(event))

    # --- what the runner asks ---

    def begun(self, activity_id: int) -> None:
        """A worker has begun with it: nobody waits for that any more."""
        self._deadlines.begun(activity_id)

    def take_due(self, now: Micros) -> list[ActivityFailed]:
        """The ends of those whose deadlines have passed; each is given out once."""
        return self._deadlines.take_due(now, self._waiting)

    @property
    def local(self) -> Mapping[int, LocalCall]:
        """Those that the run's owner runs itself, and that have no outcome yet."""
        return self._local

    @property
    def has_local_to_begin(self) -> bool:
        return bool(self._local_to_begin)

    def take_local(self) -> list[LocalCall]:
        """Those of them that nobody has begun with; each is given out once."""
        calls, self._local_to_begin = self._local_to_begin, {}
        return list(calls.values())

    @property
    def awaited(self) -> list[int]:
        """The ids of those that have no outcome yet, also when the run is over."""
        return list(self._waiting)

    @property
    def next_deadline(self) -> Micros | None:
        return self._deadlines.next_at(self._waiting)

    def _forget_local(self, activity_id: int) -> None:
        if self._local:
            self._local.pop(activity_id, None)
            self._local_to_begin.pop(activity_id, None)

    def _take(self, event: ActivityCompleted | ActivityFailed) -> asyncio.Future[bytes] | None:
        self._recorder.check_asked(event, event.activity_id)
        self._forget_local(event.activity_id)
        future = self._waiting.pop(event.activity_id, None)
        return None if future is None or future.done() else future
