"""Hearing of other processes that write to the same SQLite file, which has no way to tell.

Every commit shows in the file's log, whose times and size cost a few microseconds to look at. Only
when these are new is SQLite asked whether it was somebody else who wrote.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from loom.errors import LoomError
from loom.storage.notifier import CALLED_OFF, OF_ONE, InProcessNotifier, Listener

_TICK: Final = 0.005
"""Seconds between two looks at the log, for as long as others keep writing."""
_IDLE_TICK: Final = 0.05
"""So a signal from elsewhere is soon seen, at a fraction of a percent of a core."""
_KEEPS_WRITING: Final = 1.0
"""Seconds since others wrote last."""

_SETTLED_NS: Final = 2_000_000_000
"""A commit is in the log before it can be seen, and a slow disk may lie between: so long after the
log has changed SQLite is still asked. File systems also take one moment for another."""

_FEW: Final = 32
"""More listeners than that would ask the database more than they would by themselves."""


class FileNotifier(InProcessNotifier):
    """Reaches listeners of this process at once; and when others have written, tells them that
    anything may have happened."""

    def __init__(self, path: str, version: Callable[[], Awaitable[int]]) -> None:
        """``version`` gives a number that others, and only they, change by writing."""
        super().__init__()
        self._log = f"{path}-wal"
        self._version = version
        self._known_version: int | None = None
        self._known_log: tuple[int, int] | None = None
        self._written_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._is_closed = False

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        unsubscribe = super().subscribe(topic, listener)
        if self._timer is None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(_TICK, self._look)
        return unsubscribe

    async def close(self) -> None:
        """Look no more. Closing twice is fine."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            await asyncio.wait([self._asking])

    def _look(self) -> None:
        self._timer = None
        if not self._listeners or self._is_closed:
            return
        if self._asking is None and self._is_log_new():
            self._asking = asyncio.create_task(self._ask(), name="loom-neighbours")
        loop = asyncio.get_running_loop()
        is_idle = loop.time() - self._written_at > _KEEPS_WRITING
        self._timer = loop.call_later(_IDLE_TICK if is_idle else _TICK, self._look)

    def _is_log_new(self) -> bool:
        try:
            status = os.stat(self._log)
        except OSError:
            # Nobody has the file open who has written to it.
            return False
        log = status.st_mtime_ns, status.st_size
        is_new = log != self._known_log or time.time_ns() - status.st_mtime_ns < _SETTLED_NS
        self._known_log = log
        return is_new

    async def _ask(self) -> None:
        try:
            with suppress(LoomError):
                version = await self._version()
                if version != self._known_version:
                    self._known_version = version
                    self._written_at = asyncio.get_running_loop().time()
                    self.publish(self._topics())
        finally:
            self._asking = None

    def _topics(self) -> list[str]:
        # What is called off shows as leases are renewed, and looking for it is to renew them.
        topics = [topic for topic in self._listeners if topic != CALLED_OFF]
        if len(topics) <= _FEW:
            return topics
        return [topic for topic in topics if not topic.startswith(OF_ONE)]
