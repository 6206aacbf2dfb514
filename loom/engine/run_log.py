"""What a run's code logs: each line once, however often the code is replayed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from loom.engine.decision import LoggedLine
from loom.engine.recorder import Recorder
from loom.history.failures import MAX_MESSAGE, storable

_log = logging.getLogger("loom.workflow")


class RunLog:
    """The lines of the turn under way."""

    def __init__(self, recorder: Recorder, extra: Mapping[str, str]) -> None:
        self._recorder = recorder
        self._extra = extra
        self.lines: list[LoggedLine] = []
        self._unkept: list[LoggedLine] = []
        self.count = 0
        """How many lines the run has ever logged."""

    def log(self, level: int, text: Callable[[], str]) -> None:
        recorder = self._recorder
        if recorder.reader is not None:
            # Who only looks leaves no trace, and no gap in the numbers of what is kept.
            self._unkept.append(LoggedLine(0, recorder.now, level, storable(text(), MAX_MESSAGE)))
            return
        self.count += 1
        if recorder.is_replaying or recorder.loop.halted:
            return
        message = storable(text(), MAX_MESSAGE)
        self.lines.append(LoggedLine(self.count, recorder.now, level, message))

    def pass_on(self) -> None:
        """Give the lines to ``logging``: after the turn, where no handler can run on the
        workflow's loop or raise into its code."""
        if not self.lines and not self._unkept:
            return
        lines, self._unkept = [*self._unkept, *self.lines], []
        for line in lines:
            with suppress(Exception):
                _log.log(line.level, "%s", line.message, extra=self._extra)
