"""pdb over a replay: it stops in the user's code alone, and knows coroutines."""

from __future__ import annotations

import inspect
import pdb
import sys
from types import FrameType
from typing import Any, Final

from loom.authoring.user_code import count_as_user_code, is_users_file

_COROUTINES: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_GENERATOR


class ReplayDebugger(pdb.Pdb):
    """Waits to be begun, and then stops at the next line of the user's that is run."""

    quitting = False
    """Whether it was told to quit."""

    def __init__(self, workflow: type) -> None:
        """Its package is the user's, even when it is installed among the libraries."""
        super().__init__()
        count_as_user_code(workflow)

    def begin(self) -> None:
        """Stop as soon as the user's code runs. Called by the code that runs it."""
        self.reset()
        self.set_step()
        sys.settrace(self.trace_dispatch)

    def end(self) -> None:
        """Let everything run."""
        sys.settrace(None)

    def stop_here(self, frame: FrameType) -> bool:
        return _is_users(frame) and super().stop_here(frame)

    def user_call(self, frame: FrameType, argument_list: Any) -> None:
        # A function stops at its first line. A coroutine that goes on stops at its `await`, where
        # what it waits for has come and has not been handed over yet.
        if frame.f_lineno != frame.f_code.co_firstlineno:
            self.interaction(frame, None)

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        # That a coroutine waits looks to Python like a return.
        if not frame.f_code.co_flags & _COROUTINES:
            super().user_return(frame, return_value)


def _is_users(frame: FrameType) -> bool:
    filename = frame.f_code.co_filename
    # What a library has made up, as a dataclass does, has no source to be shown.
    return not filename.startswith("<") and is_users_file(filename)
