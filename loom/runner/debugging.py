"""Whether somebody is stepping through a thread's code, which then takes as long as it takes."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Final

_DEBUGGERS: Final = frozenset({"bdb", "pdb", "ipdb", "pudb", "debugpy", "pydevd", "_pydevd_bundle"})


def is_debugged(thread: int) -> bool:
    """Whether a debugger is attached to a thread, by its ident, or waits for a command in it."""
    monitoring = sys.monitoring
    if monitoring.get_tool(monitoring.DEBUGGER_ID) is not None:
        return True
    frame = sys._current_frames().get(thread)
    return frame is not None and _is_traced(frame)


def _is_traced(innermost: FrameType) -> bool:
    frame: FrameType | None = innermost
    while frame is not None:
        # `sys.gettrace` tells of its own thread alone; frames tell it of any.
        if frame.f_trace is not None:
            return True
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _DEBUGGERS:
            return True
        frame = frame.f_back
    return False
