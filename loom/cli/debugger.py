"""pdb over a replay: it stops in the user's code alone, and knows coroutines."""

from __future__ import annotations

import inspect
import os
import pdb
import sys
import sysconfig
from pathlib import Path
from types import FrameType
from typing import Any, Final

_LOOM: Final = f"{Path(__file__).parents[1]}{os.sep}"
_STANDARD: Final = f"{sysconfig.get_path('stdlib')}{os.sep}"
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_COROUTINES: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_GENERATOR


class ReplayDebugger(pdb.Pdb):
    """Waits to be begun, and then stops at the next line of the user's that is run."""

    quitting = False
    """Whether it was told to quit."""

    def __init__(self, package: str) -> None:
        """``package`` is the user's, even when it is installed among the libraries."""
        super().__init__()
        self._package = package

    def begin(self) -> None:
        """Stop as soon as the user's code runs. Called by the code that runs it."""
        self.reset()
        self.set_step()
        sys.settrace(self.trace_dispatch)

    def end(self) -> None:
        """Let everything run."""
        sys.settrace(None)

    def stop_here(self, frame: FrameType) -> bool:
        return self._is_users(frame) and super().stop_here(frame)

    def user_call(self, frame: FrameType, argument_list: Any) -> None:
        # A function stops at its first line. A coroutine that goes on stops at its `await`, where
        # what it waits for has come and has not been handed over yet.
        if frame.f_lineno != frame.f_code.co_firstlineno:
            self.interaction(frame, None)

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        # That a coroutine waits looks to Python like a return.
        if not frame.f_code.co_flags & _COROUTINES:
            super().user_return(frame, return_value)

    def _is_users(self, frame: FrameType) -> bool:
        """Whether a frame is of what the user wrote, rather than of Loom or another library."""
        if frame.f_globals.get("__name__", "").partition(".")[0] == self._package:
            return True
        filename = frame.f_code.co_filename
        if filename.startswith(("<", _LOOM, _STANDARD)):
            return False
        return not any(folder in filename for folder in _INSTALLED)
