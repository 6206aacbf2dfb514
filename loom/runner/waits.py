"""Where a run's code waits: the line of each of its coroutines, for people."""

from __future__ import annotations

import linecache
from pathlib import Path
from types import FrameType
from typing import Any, Final

from loom.authoring.user_code import is_users_file


def waiting_at(coroutine: Any) -> str:
    """The innermost line of the user's own code, as ``shop.py:31, in run: await ...``."""
    found = ""
    while coroutine is not None:
        frame = _frame(coroutine)
        if frame is not None and is_users_file(frame.f_code.co_filename):
            found = _line(frame)
        coroutine = next(
            (getattr(coroutine, name) for name in _AWAITED if hasattr(coroutine, name)), None
        )
    return found


_AWAITED: Final = ("cr_await", "ag_await", "gi_yieldfrom")


def _frame(coroutine: Any) -> FrameType | None:
    for name in ("cr_frame", "ag_frame", "gi_frame"):
        frame: FrameType | None = getattr(coroutine, name, None)
        if frame is not None:
            return frame
    return None


def _line(frame: FrameType) -> str:
    path = frame.f_code.co_filename
    text = linecache.getline(path, frame.f_lineno).strip()
    return f"{Path(path).name}:{frame.f_lineno}, in {frame.f_code.co_name}: {text}"
