"""Coroutines that were asked for and are never awaited, so that nothing is done.

Python tells of one when it is let go of, by a warning. A run must be halted for it, or it would go
on as if the activity had run; but not when the coroutine was let go of because something else went
wrong between the call and its ``await``. So it is looked at who lets it go, by which instruction,
and whether any exception was handled since it was asked for.
"""

from __future__ import annotations

import sys
import weakref
from asyncio import events
from collections.abc import Coroutine
from functools import partial
from opcode import opname
from types import CodeType, FrameType
from typing import Any, Final, Protocol

from loom.engine.exception_watch import handled_so_far

_HANDLE_RUN: Final = events.Handle._run.__code__

_ASKING: Final = frozenset({"loom.authoring.asking", "loom.authoring.context"})
"""The modules whose coroutines hold something while they have not begun."""

_DROPS: Final = ("POP_TOP", "POP_JUMP_", "TO_BOOL", "STORE_")
"""Of the function that called: the value is not used, only asked whether it is true, or replaced
by another. Not what an exception makes it leave."""


class Tracker(Protocol):
    """Who is told of a coroutine that was forgotten."""

    def on_forgotten(self, call: str, code: CodeType, line: int) -> None: ...


def track(
    coroutine: Coroutine[Any, Any, Any], call: str, frame: FrameType, tracker: Tracker
) -> object:
    """What a coroutine is to hold until it begins."""
    # Not the frame itself, which has the coroutine.
    told = partial(_let_go, tracker, handled_so_far(), call, frame.f_code, frame.f_lasti)
    return weakref.ref(coroutine, told)


def excuse(coroutine: object) -> None:
    """It is closed by whoever asked for it: that nothing comes of it is meant."""
    frame = getattr(coroutine, "cr_frame", None)
    if frame is not None and frame.f_globals.get("__name__") in _ASKING:
        frame.f_locals.get("held", []).clear()


def _let_go(
    tracker: Tracker, handled: str, call: str, code: CodeType, position: int, gone: object
) -> None:
    # Whatever has been handled meanwhile may have kept the code from awaiting it.
    if handled_so_far() == handled and _is_forgotten(code, sys._getframe(1)):
        tracker.on_forgotten(call, code, _line(code, position))


def _is_forgotten(caller: CodeType, frame: FrameType) -> bool:
    raw, position = frame.f_code.co_code, frame.f_lasti
    start = _start(raw, position)
    name = opname[raw[start]]
    if frame.f_code is caller:
        return start == position and name.startswith(_DROPS)
    # The calling function has been left. Has it returned the coroutine, to somebody who has no use
    # for it, or returned without it? Code in C, which may let go of what an exception has left, is
    # called where the instruction begins.
    is_unused = name == "POP_TOP" and opname[raw[_start(raw, start - 2)]].startswith("CALL")
    has_returned = name == "SEND" or (name == "CALL" and start < position)
    return is_unused or has_returned or frame.f_code is _HANDLE_RUN


def _start(raw: bytes, position: int) -> int:
    """Where the instruction begins that a position belongs to."""
    while position > 0 and opname[raw[position]] == "CACHE":
        position -= 2
    return max(position, 0)


def _line(code: CodeType, position: int) -> int:
    for start, end, line in code.co_lines():
        if start <= position < end and line is not None:
            return line
    return code.co_firstlineno
