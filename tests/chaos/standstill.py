"""Notices when the machine stood still, as a virtual one does that is moved or put to sleep."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOOK_EVERY = 0.1
"""Seconds."""


class Standstill:
    """How long it took at the most until a thread that sleeps was woken, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._is_over = threading.Event()

    @property
    def late(self) -> float:
        """By how many seconds at the most it was woken too late."""
        return max(0.0, self.longest - _LOOK_EVERY)

    def watch(self) -> None:
        last = time.monotonic()
        while not self._is_over.wait(_LOOK_EVERY):
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last), now
        self.longest = max(self.longest, time.monotonic() - last)

    def end(self) -> None:
        self._is_over.set()


@contextmanager
def standstills() -> Iterator[Standstill]:
    """Watches for them while the block runs."""
    found = Standstill()
    watch = threading.Thread(target=found.watch, daemon=True)
    watch.start()
    try:
        yield found
    finally:
        found.end()
        watch.join()
