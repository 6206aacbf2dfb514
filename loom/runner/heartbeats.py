"""What attempts say of how far they are, written about once a second, all together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from loom.errors import StoreError
from loom.identifiers import MICROS_PER_SECOND, Micros
from loom.runner import sizes
from loom.runner.attempts import Attempt
from loom.runner.clock import Clock
from loom.runner.group_writer import GroupWriter
from loom.storage.records import Heartbeat, TaskLease, WriteOutcome
from loom.storage.repository import ActivityTaskRepository

_log = logging.getLogger("loom.worker")

_INTERVAL: Final = MICROS_PER_SECOND
"""At most so long after it was said is a heartbeat on its way to the store."""


class Heartbeats:
    """The heartbeats of a worker's attempts."""

    def __init__(
        self,
        repository: ActivityTaskRepository,
        clock: Clock,
        on_lost: Callable[[Sequence[TaskLease]], None],
    ) -> None:
        self._clock = clock
        self._on_lost = on_lost
        self._writer = GroupWriter(repository.record_heartbeats, size=sizes.of_heartbeat)
        self._last: dict[Attempt, Micros] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def said(self, attempt: Attempt) -> None:
        """The attempt has said something that is not written yet: at once, unless it has just
        said something else."""
        if attempt.task is None or attempt.task.done() or attempt.is_unwanted:
            return
        last = self._last.get(attempt)
        if last is None:
            attempt.task.add_done_callback(lambda _: self._last.pop(attempt, None))
        due_at = 0 if last is None else last + _INTERVAL
        if due_at <= self._clock.now():
            self._write_soon(attempt)
        else:
            self._clock.call_at(due_at, partial(self._write_soon, attempt))

    async def save(self, attempts: Iterable[Attempt]) -> None:
        """Write what these have said, before others take them over."""
        unsaved = [attempt for attempt in attempts if attempt.unsaved]
        await asyncio.gather(*(self._write(attempt) for attempt in unsaved))

    def _write_soon(self, attempt: Attempt) -> None:
        if attempt.task is None or attempt.task.done() or not attempt.unsaved:
            return
        self._last[attempt] = self._clock.now()
        writing = asyncio.create_task(self._write(attempt), name="loom-heartbeat")
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    async def _write(self, attempt: Attempt) -> None:
        attempt.unsaved = False
        lease = TaskLease(attempt.run_key, attempt.activity_id, attempt.token)
        heartbeat = Heartbeat(lease.run_key, lease.activity_id, lease.token, attempt.details)
        try:
            outcome = await self._writer.submit(heartbeat)
        except StoreError as error:
            # The next one says more.
            _log.warning("activity %s: a heartbeat was not written: %s", attempt.name, error)
            return
        if outcome is WriteOutcome.LOST:
            self._on_lost([lease])
