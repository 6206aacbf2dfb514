"""What happens when a workflow's code does what would not be the same on replay.

Two watchers report to the guard of the run whose code is running: one sees what the user's code
calls (``call_watch``), the other what the interpreter's audit events tell of files, sockets,
processes and threads, however deep in a library (``audit_watch``).

The guard halts the run. Nothing of the turn is written, and the run is BLOCKED until code that can
be replayed is deployed; an exception in its place would be recorded, and fail the run for good.
"""

from __future__ import annotations

import linecache
import logging
from asyncio import events
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import CodeType, FrameType, TracebackType
from typing import Final

from loom.authoring.call_table import Forbidden
from loom.authoring.forbidden import (
    ACTIVITY_CALL,
    ENVIRONMENT,
    EVENT_LOOP,
    FORBIDDEN_LOOP_METHODS,
    FORGOTTEN_AWAIT,
    NETWORK,
    GuardMode,
    Rule,
)
from loom.authoring.unguarded import UNGUARDED
from loom.authoring.user_code import is_users_file
from loom.engine.loop import DeterministicLoop, LoopGuard
from loom.errors import NonDeterministicCallError, StopReplay

_log = logging.getLogger("loom.workflow")

_TURN: Final = DeterministicLoop.run_until_quiescent.__code__

_EXEMPT: Final = frozenset(
    {
        *("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport"),
        *("linecache", "traceback", "tokenize", "inspect", "warnings", "logging"),
        *("zoneinfo", "tzdata", "gettext", "locale", "encodings"),
        *("pdb", "bdb", "ipdb", "IPython", "pudb", "debugpy", "pydevd", "_pydevd_bundle"),
        # Finalizers run wherever garbage happens to be collected.
        *("weakref", "tracemalloc", "coverage"),
    }
)
"""Modules that may do what they like: imports, reading source, logging, debuggers, time zones."""

_PAYLOADS: Final = "loom.history.payloads"
_FOREIGN: Final = ("attached to a different loop", "is bound to a different event loop")

_warned: Final[set[tuple[str, int, str]]] = set()


class Guard(LoopGuard):
    """Guards one run."""

    def __init__(
        self, mode: GuardMode, workflow_id: str, halt: Callable[[Exception], StopReplay]
    ) -> None:
        self._mode = mode
        self._workflow_id = workflow_id
        self._halt = halt

    @property
    def is_strict(self) -> bool:
        """Whether it is also told of what libraries do."""
        return self._mode == "strict"

    def on_call(self, forbidden: Forbidden, frame: FrameType) -> None:
        """The code calls something that it must not."""
        self._broken(f"{forbidden.name}()", forbidden.rule, frame)

    def on_audit(self, what: str, rule: Rule, frame: FrameType) -> None:
        """Something is done to the world outside, on the code's behalf."""
        self._broken(what, rule, frame)

    def on_environment(self, frame: FrameType) -> None:
        """The code reads a variable of the environment, which is no call of its own."""
        self._broken("os.environ", ENVIRONMENT, frame, did="read")

    def on_loop_method(self, method: str, frame: FrameType) -> None:
        """The loop is asked for something that has no meaning in it."""
        self._broken(f"loop.{method}()", FORBIDDEN_LOOP_METHODS.get(method, NETWORK), frame)

    def on_activity(self, name: str, frame: FrameType) -> None:
        """The code calls an activity as if it were any function."""
        rule = replace(ACTIVITY_CALL, instead=f"use `await ctx.activity({name}, ...)`")
        self._broken(f"{name}()", rule, frame)

    def on_forgotten(self, call: str, code: CodeType, line: int) -> None:
        """The code has let go of what it asked for before that could begin."""
        loop = events._get_running_loop()
        is_mine = isinstance(loop, DeterministicLoop) and loop.guard is self and not loop.halted
        if not is_mine or UNGUARDED.get():
            return
        place = _Place(code.co_filename, line, code.co_qualname)
        error = _error(f"called {call}, which {FORGOTTEN_AWAIT.problem}", FORGOTTEN_AWAIT, place)
        if self._mode != "warn":
            # Nobody can be raised at here: the loop stops when the code waits for something.
            self._halt(error)
        else:
            self._warn(error, place)

    def on_end(self, error: BaseException) -> None:
        """The code has ended with an error."""
        foreign = next(filter(_is_foreign, _leaves(error)), None)
        if foreign and self._mode != "warn":
            place = _place_of_error(foreign.__traceback__)
            what = f"awaited what belongs to another event loop ({foreign})"
            raise self._halt(_error(what, EVENT_LOOP, place)) from foreign

    def _broken(self, what: str, rule: Rule, frame: FrameType, did: str = "called") -> None:
        if UNGUARDED.get() or _is_exempt(frame):
            return
        loop = events._get_running_loop()
        if isinstance(loop, DeterministicLoop) and loop.halted:
            raise StopReplay
        place = _place(frame)
        error = _error(f"{did} {what}, which {rule.problem}", rule, place)
        if self._mode != "warn":
            raise self._halt(error)
        self._warn(error, place)

    def _warn(self, error: Exception, place: _Place | None) -> None:
        key = (place.path, place.line, str(error)) if place else ("", 0, str(error))
        if key not in _warned:
            _warned.add(key)
            loop = events._get_running_loop()
            # No handler may run on the workflow's loop or raise into its code.
            events._set_running_loop(None)
            with suppress(Exception):
                _log.warning("workflow %s: %s", self._workflow_id, error)
            events._set_running_loop(loop)


@dataclass(frozen=True, slots=True)
class _Place:
    """A line of the user's code."""

    path: str
    line: int
    function: str

    def __str__(self) -> str:
        source = linecache.getline(self.path, self.line).strip()
        return f"{self.path}:{self.line} in {self.function}: {source}"


def _error(what: str, rule: Rule, place: _Place | None) -> NonDeterministicCallError:
    where = f"  at {place}\n" if place else ""
    lifted = (
        " What cannot change what the run does may stand inside `with loom.unguarded():`."
        if rule.may_be_lifted
        else ""
    )
    return NonDeterministicCallError(
        f"The workflow's code {what}:\n{where}Instead, {rule.instead}.{lifted}",
        place=str(place) if place else None,
    )


def _turn_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames that the workflow's loop has called, from the innermost."""
    while frame is not None and frame.f_code is not _TURN:
        yield frame
        frame = frame.f_back


def _is_exempt(frame: FrameType) -> bool:
    for each in _turn_frames(frame):
        module = str(each.f_globals.get("__name__", ""))
        # Codecs and validators are the application's, and their work is recorded.
        if module.partition(".")[0] in _EXEMPT or module == _PAYLOADS:
            return True
        if each.f_code.co_name == "__del__":
            return True
    return False


def _place(frame: FrameType) -> _Place | None:
    """The innermost line of the user's own code."""
    for each in _turn_frames(frame):
        code = each.f_code
        if is_users_file(code.co_filename) and not code.co_filename.startswith("<"):
            return _Place(code.co_filename, each.f_lineno, code.co_qualname)
    return None


def _place_of_error(trace: TracebackType | None) -> _Place | None:
    place = None
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_users_file(code.co_filename):
            place = _Place(code.co_filename, trace.tb_lineno, code.co_qualname)
        trace = trace.tb_next
    return place


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _is_foreign(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _FOREIGN)
