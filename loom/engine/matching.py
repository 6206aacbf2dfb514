"""Comparing what the code asks for with what history says it asked for.

Commands are compared in the order of asking, one by one, wherever they sit between the arrivals:
so it does not matter how arrivals were batched when they were first taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import linecache
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Final

from loom.engine.loop import DeterministicLoop
from loom.errors import NonDeterministicWorkflowError
from loom.history.events import CommandEvent, Event, PatchApplied
from loom.history.failures import storable

_MAX_FAILURE: Final = 500

# Frames below these are not the workflow's.
_TURN: Final = frozenset({DeterministicLoop.run_until_quiescent.__code__})
_NOT_USER_CODE: Final = (
    str(Path(__file__).parent.parent) + os.sep,
    str(Path(asyncio.__file__).parent) + os.sep,
    contextlib.__file__,
)


class Matcher:
    """The recorded commands of a history, matched off as the code asks for them again."""

    def __init__(self, recorded: Iterable[tuple[int, CommandEvent]]) -> None:
        self._recorded = tuple(recorded)
        self._position = 0
        markers = [event for _, event in self._recorded if isinstance(event, PatchApplied)]
        self._patches = frozenset(marker.patch_id for marker in markers)
        self._left_out: set[str] = set()

    def match[C: CommandEvent](self, asked: C, *, in_code: bool = True) -> C:
        """The recorded event for what the code asks for now.

        ``in_code`` is whether the code is on the call stack, so that the place can be named.

        Raises ``NonDeterministicWorkflowError`` when history holds something else, or nothing.
        """
        if isinstance(asked, PatchApplied) and asked.patch_id in self._left_out:
            return asked
        self._leave_out_deprecated(asked)
        if self._position == len(self._recorded):
            raise self._difference(None, asked, in_code)
        sequence, recorded = self._recorded[self._position]
        if recorded.identity != asked.identity or not isinstance(recorded, type(asked)):
            raise self._difference((sequence, recorded), asked, in_code)
        self._position += 1
        return recorded

    def has_patch(self, patch_id: str) -> bool:
        """Whether the history says that the run has a patch."""
        return patch_id in self._patches

    def _leave_out_deprecated(self, asked: CommandEvent | None = None) -> None:
        """Go past the markers of patches that the code need not know any more, and does not."""
        while self._position < len(self._recorded):
            marker = self._recorded[self._position][1]
            if not isinstance(marker, PatchApplied) or not marker.deprecated:
                return
            if asked is not None and asked.identity == marker.identity:
                return
            self._left_out.add(marker.patch_id)
            self._position += 1

    def finish(self) -> None:
        """Check that everything recorded was asked for again."""
        self._leave_out_deprecated()
        if self._position < len(self._recorded):
            raise self._difference(self._recorded[self._position], None, False)

    def _difference(
        self,
        recorded: tuple[int, CommandEvent] | None,
        asked: CommandEvent | None,
        in_code: bool,
    ) -> NonDeterministicWorkflowError:
        where = f"event {recorded[0]}" if recorded else "the end of its history"
        history = _describe(recorded[1]) if recorded else None
        code = _describe(asked) if asked else None
        lines = [
            "The code no longer asks for what the history recorded, at command "
            f"{self._position + 1} ({where}):",
            f"  history: {history or 'nothing more'}",
            f"  code:    {code or 'nothing more'}",
        ]
        place = _place_in_user_code() if in_code else None
        if place:
            lines.append(f"  at {place}")
        if recorded and isinstance(recorded[1], PatchApplied):
            lines.append(_forgotten(recorded[1]))
        return NonDeterministicWorkflowError(
            "\n".join(lines),
            event=recorded[0] if recorded else None,
            history=history,
            code=code,
            place=place,
        )


def unasked(answer: Event) -> NonDeterministicWorkflowError:
    """The history answers something that the code has not asked for."""
    history, code = _describe(answer), "has not asked for that when the answer arrives"
    return NonDeterministicWorkflowError(
        "The code no longer asks for what the history recorded:\n"
        f"  history: {history}\n"
        f"  code:    {code}",
        history=history,
        code=code,
    )


def unhandled(update: Event) -> NonDeterministicWorkflowError:
    """The history holds an update for which the code has no handler."""
    history, code = _describe(update), "has no handler for that update"
    return NonDeterministicWorkflowError(
        "The code no longer takes what the history recorded:\n"
        f"  history: {history}\n"
        f"  code:    {code}",
        history=history,
        code=code,
    )


def _forgotten(marker: PatchApplied) -> str:
    return (
        f"  The run has the patch {marker.patch_id!r}. If the code is to forget it, let it call "
        f"ctx.deprecate_patch({marker.patch_id!r}) in the same place until such runs have closed."
    )


def _describe(event: Event) -> str:
    # What has its default is left out: events grow, and most of it says nothing.
    values = {
        field.name: getattr(event, field.name)
        for field in dataclasses.fields(event)
        if getattr(event, field.name) != field.default
    }
    values.pop("payload", None)
    failure = values.pop("failure", None)
    if failure is not None:
        values["failure"] = storable(f"{failure.type}: {failure.message}", _MAX_FAILURE)
    return " ".join([event.type, *(f"{name}={value!r}" for name, value in values.items())])


def _place_in_user_code() -> str | None:
    """The innermost line of the call stack that is neither Loom's nor asyncio's.

    There is none where a task's first coroutine is Loom's own, as in ``gather(ctx.activity(...))``.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code not in _TURN:
        filename = frame.f_code.co_filename
        if not filename.startswith(_NOT_USER_CODE):
            line = linecache.getline(filename, frame.f_lineno).strip()
            return f"{filename}:{frame.f_lineno} in {frame.f_code.co_name}: {line}"
        frame = frame.f_back
    return None
