"""Where a run's code waits: the line of each of its coroutines, for people."""

from __future__ import annotations

import asyncio
import contextlib
import linecache
from pathlib import Path
from types import FrameType
from typing import Any, Final

import loom

_OURS: Final = (
    str(Path(loom.__file__ or "").parent),
    str(Path(asyncio.__file__ or "").parent),
    contextlib.__file__,
)


def waiting_at(coroutine: Any) -> str:
    """The innermost line of the user's own code, as ``shop.py:31, in run: await ...``."""
    found = ""
    while coroutine is not None:
        frame = _frame(coroutine)
        if frame is not None and not frame.f_code.co_filename.startswith(_OURS):
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
