"""Watching whether a workflow's code reads variables of the environment.

``os.environ["HOME"]`` is no call that the user's code makes, so that it is the function behind it
that is watched: one code object of Python's own, whose beginning is reported. The mapping itself is
left as it is.
"""

from __future__ import annotations

import os
import sys
from asyncio import events
from types import CodeType, FrameType
from typing import Final

from loom.authoring.user_code import is_users_code
from loom.engine.guards import Guard
from loom.engine.loop import DeterministicLoop

_monitoring = sys.monitoring
_START: Final = _monitoring.events.PY_START

_BETWEEN: Final = frozenset({"os", "_collections_abc", "collections.abc"})
"""Modules of the mapping, by way of whose methods it is read."""


def watch_environment(tool: int) -> None:
    """Report reads of the environment to the guard of the run whose code does so itself; what
    libraries read is left alone. ``tool`` is an id of ``sys.monitoring``."""
    _monitoring.register_callback(tool, _START, _on_start)
    environment = type(os.environ)
    for method in (environment.__getitem__, environment.__iter__):
        _monitoring.set_local_events(tool, method.__code__, _START)


def _on_start(code: CodeType, offset: int) -> None:
    loop = events._get_running_loop()
    if loop.__class__ is DeterministicLoop and isinstance(loop.guard, Guard):
        reader = _reader(sys._getframe(1))
        if reader is not None and is_users_code(reader.f_code):
            loop.guard.on_environment(reader)


def _reader(frame: FrameType | None) -> FrameType | None:
    while frame is not None and frame.f_globals.get("__name__") in _BETWEEN:
        frame = frame.f_back
    return frame
