"""Telling of workflow code that keeps its worker's event loop, while it does.

A turn is over in microseconds, or else everything on the loop waits for it. A thread of its own
looks now and then whether it is still the same turn that is under way. It reports and does no more:
code that hangs cannot be ended from outside, and a person who debugs it must not be disturbed.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from loom.engine.instance import WorkflowInstance
from loom.engine.loop import DeterministicLoop
from loom.identifiers import MICROS_PER_SECOND, Micros
from loom.runner.debugging import is_debugged

_log = logging.getLogger("loom.worker")

_TURN: Final = DeterministicLoop.run_until_quiescent.__code__
_LOOKS: Final = 4
"""How often it is looked during the time that a turn may take."""

_JOIN: Final = 1.0
"""Seconds."""


class SlowTurnWatch:
    """Watches the turns that one event loop takes.

    Args:
        limit: how long a turn may take; zero for as long as it likes.
    """

    def __init__(self, limit: Micros) -> None:
        self._limit = limit / MICROS_PER_SECOND
        self._instance: WorkflowInstance | None = None
        self._turns = 0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to watch; call on the thread of the event loop."""
        if self._limit > 0:
            arguments = (threading.get_ident(),)
            self._thread = threading.Thread(
                target=self._watch, args=arguments, name="loom-slow-turns", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            # A handler of logging that hangs must not keep the worker from stopping.
            self._thread.join(_JOIN)

    @contextmanager
    def turn(self, instance: WorkflowInstance) -> Iterator[None]:
        """Held during a turn, or a replay."""
        self.begin(instance)
        try:
            yield
        finally:
            self.end()

    def begin(self, instance: WorkflowInstance) -> None:
        """What ``turn`` does, without the cost of a context manager."""
        self._turns += 1
        self._instance = instance

    def end(self) -> None:
        self._instance = None

    # --- on the thread ---

    def _watch(self, watched: int) -> None:
        seen: object = None
        since = time.monotonic()
        reported = False
        while not self._stop.wait(self._limit / _LOOKS):
            turn = self._under_way()
            if turn is None or turn != seen:
                seen, since, reported = turn, time.monotonic(), False
            elif is_debugged(watched):
                since = time.monotonic()
            elif not reported and time.monotonic() - since >= self._limit:
                reported = self._report(turn, watched, time.monotonic() - since)

    def _under_way(self) -> tuple[int, object] | None:
        """What changes when code gets on: with each turn and, in a replay, with each event."""
        instance = self._instance
        return None if instance is None else (self._turns, instance.replay_position)

    def _report(self, turn: object, watched: int, seconds: float) -> bool:
        instance, frame = self._instance, sys._current_frames().get(watched)
        stack = _stack(frame) if frame is not None else []
        if instance is None or self._under_way() != turn or not stack:
            return False
        _log.warning(
            "workflow %s (run %s) has kept its worker's event loop for %.1f s, so that nothing "
            "else goes on there. Long computations and whatever blocks belong in an activity. "
            "It is here:\n%s",
            *(instance.workflow_id, instance.run_id, seconds, "".join(stack).rstrip()),
            extra={"workflow_id": instance.workflow_id, "run_id": instance.run_id},
        )
        return True


def _stack(frame: FrameType) -> list[str]:
    """What the workflow's loop has called, as a traceback shows it."""
    frames = reversed([*_turn_frames(frame)])
    return traceback.StackSummary.extract((each, each.f_lineno) for each in frames).format()


def _turn_frames(innermost: FrameType) -> Iterator[FrameType]:
    frame: FrameType | None = innermost
    while frame is not None and frame.f_code is not _TURN:
        yield frame
        frame = frame.f_back
