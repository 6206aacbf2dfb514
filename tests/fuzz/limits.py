"""Bounds of the time and the memory that a single input may take."""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

_SIZES: Final = Path("/proc/self/statm")


class TakesTooLong(BaseException):
    """An input has no end. Nothing that is made ready for errors takes this for one of its own."""


@contextmanager
def limited_time(seconds: float) -> Iterator[None]:
    """Ends the block, wherever it is, when so much time has gone by, slept or worked."""
    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, _give_up)
    rest, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if rest:
            # Somebody else had set it, for a limit of their own.
            left = rest - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001))


def _give_up(number: int, frame: FrameType | None) -> None:
    raise TakesTooLong("it has no end")


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Lets no more than so many bytes be added to the process's memory while the block runs.

    It is the addresses that are limited, so that nothing need be filled to be found.
    """
    if sys.platform != "linux":
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_AS)
    now = int(_SIZES.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def lacked_memory(error: BaseException | None) -> bool:
    """Whether that is what has led to an error, by whatever name it comes."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    return error is not None
