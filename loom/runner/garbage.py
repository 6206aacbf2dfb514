"""How often Python's garbage collector looks, while workers of this process are at work.

It looks whenever so many more objects were made than freed: 700 in CPython 3.12. Hundreds of runs
in flight are tens of thousands of objects, made and freed in waves as groups are committed. So it
looked all the time, at what is alive, and took half of a worker's CPU time to find nothing: what a
closed run was made of has no circles and is freed at once.
"""

from __future__ import annotations

import gc
import threading
from typing import Final


class CollectorPace:
    """One worker's wish to be held up less.

    Args:
        objects: how many more objects are to be made than freed before the collector looks; zero
            leaves it alone. Where it has been slowed down further, or switched off, it stays so.
    """

    def __init__(self, objects: int) -> None:
        self._objects = objects

    def start(self) -> None:
        with _lock:
            _slow_down(self._objects)
            _at_work.add(self)

    def stop(self) -> None:
        """Take it back; the last one lets the collector go on as before. May be called again."""
        with _lock:
            _at_work.discard(self)
            if not _at_work:
                _restore()


_lock: Final = threading.Lock()
_at_work: Final[set[CollectorPace]] = set()
_changed: Final[list[tuple[tuple[int, ...], tuple[int, ...]]]] = []
"""The thresholds before and since, while they are changed."""


def _slow_down(objects: int) -> None:
    before = gc.get_threshold()
    if 0 < before[0] < objects:
        gc.set_threshold(objects, *before[1:])
        _changed.append((before, gc.get_threshold()))


def _restore() -> None:
    while _changed:
        before, since = _changed.pop()
        # Unless somebody else has set them meanwhile.
        if gc.get_threshold() == since:
            gc.set_threshold(*before)
