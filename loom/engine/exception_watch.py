"""Counting the exceptions that a workflow's code handles, or cleans up after.

What an exception leaves behind may be let go of long after it was swallowed, by somebody who knows
nothing of it: by a function that returns in spite of it, or by the loop. So it is counted when it
happens, in whosever code: whoever looks for what was forgotten sees whether there was any.
"""

from __future__ import annotations

import sys
from asyncio import events
from types import CodeType
from typing import Final

from loom.engine.guards import Guard
from loom.engine.loop import DeterministicLoop

_monitoring = sys.monitoring
_HANDLED: Final = _monitoring.events.EXCEPTION_HANDLED

_ENDS: Final = (StopIteration, StopAsyncIteration)
"""How loops end, with which nothing is wrong."""


def watch_exceptions(tool: int) -> None:
    """Count them for the guard of the run whose code is running. ``tool`` is an id of
    ``sys.monitoring``, whose other events for all code are none."""
    _monitoring.register_callback(tool, _HANDLED, _on_handled)
    # There is no such event for single functions; it costs what raises alone.
    _monitoring.set_events(tool, _HANDLED)


def _on_handled(code: CodeType, offset: int, error: BaseException) -> None:
    loop = events._get_running_loop()
    if loop.__class__ is DeterministicLoop and not isinstance(error, _ENDS):
        guard = loop.guard
        if isinstance(guard, Guard):
            guard.handled += 1
