"""``loom.unguarded()``: the way around the guards of a workflow's code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

UNGUARDED: Final[ContextVar[bool]] = ContextVar("loom_unguarded", default=False)


@contextmanager
def unguarded() -> Iterator[None]:
    """Let the workflow's code call what it otherwise must not, while the block runs.

    For what cannot change what the run does, such as measuring time for a metric. The block runs
    again on each replay. Other tasks of the run stay guarded. Outside of workflows it does nothing.
    """
    token = UNGUARDED.set(True)
    try:
        yield
    finally:
        UNGUARDED.reset(token)
