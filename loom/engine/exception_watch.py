"""Counting the exceptions that are handled, or cleaned up after, by whatever code of the process.

What an exception leaves behind may be let go of long after it was swallowed, by somebody who knows
nothing of it: by a function that returns in spite of it, or by the loop. So it is counted when it
happens, in whosever code: whoever looks for what was forgotten sees whether there was any.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import count
from typing import Final

_monitoring = sys.monitoring
_HANDLED: Final = _monitoring.events.EXCEPTION_HANDLED

_handled: Final = count()

_on_handled: Final = partial(max, key=partial(next, _handled))
"""Counts on, once for each of its arguments. It is made of C functions, which can be called where
the stack is full: if it raised there, CPython would look for a handler of that, find the same one,
call this again, and never end."""


def watch_exceptions(tool: int) -> None:
    """Count them. ``tool`` is an id of ``sys.monitoring``, whose other events for all code are
    none."""
    _monitoring.register_callback(tool, _HANDLED, _on_handled)
    # There is no such event for single functions; it costs what raises alone.
    _monitoring.set_events(tool, _HANDLED)


def handled_so_far() -> str:
    """Is another one as soon as an exception has been handled."""
    # To ask a counter for a number would make it count.
    return repr(_handled)
