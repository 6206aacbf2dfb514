"""Telling those who wait in this process that a run has closed, and how."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from loom.history.events import Event
from loom.identifiers import RunId


class Closings:
    """Who waits for which run."""

    def __init__(self) -> None:
        # In the order in which they came, which a set would forget.
        self._waiting: dict[RunId, dict[asyncio.Future[Event], None]] = {}

    @contextmanager
    def expect(self, run_id: RunId) -> Iterator[asyncio.Future[Event]]:
        """A future that gets the run's final event, if the run closes in this process."""
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, {})[future] = None
        try:
            yield future
        finally:
            waiting = self._waiting.get(run_id)
            if waiting is not None:
                waiting.pop(future, None)
                if not waiting:
                    del self._waiting[run_id]

    def announce(self, run_id: RunId, final: Event) -> None:
        """Called once the run's end is durable."""
        for future in self._waiting.pop(run_id, ()):
            if not future.done():
                future.set_result(final)
