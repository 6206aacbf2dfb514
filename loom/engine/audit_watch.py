"""Watching what is done to the world outside, through the interpreter's audit events.

They tell of files, sockets, processes and threads from wherever in a library they are used. Python
has no way to take a hook back, and while there is one each event costs about 0.4 microseconds in
the whole process, the ``id()`` of an object among them: so there is none before a guard is strict.
"""

from __future__ import annotations

import sys
from asyncio import events
from typing import Any, Final

from loom.authoring.forbidden import AUDITED
from loom.engine.guards import Guard
from loom.engine.loop import DeterministicLoop

_KNOWN_AS: Final = {
    "_thread.start_new_thread": "threading.Thread.start",
    "_thread.start_joinable_thread": "threading.Thread.start",
    "socket.__new__": "socket.socket",
}


def watch_audit_events() -> None:
    """Tell the guard of the running workflow, if it is strict, of what breaks a rule."""

    def on_audit(event: str, args: tuple[Any, ...]) -> None:
        rule = AUDITED.get(event)
        if rule is None:
            return
        loop = events._get_running_loop()
        if loop.__class__ is DeterministicLoop and not (event == "open" and _is_time_zone(args)):
            guard = loop.guard
            if isinstance(guard, Guard) and guard.is_strict:
                guard.on_audit(_described(event, args), rule, sys._getframe(1))

    sys.addaudithook(on_audit)


def _is_time_zone(args: tuple[Any, ...]) -> bool:
    """``ZoneInfo`` reads its rules when a zone is first named, from C, where no frame tells it."""
    return isinstance(args[0], str) and "zoneinfo" in args[0].replace("\\", "/").split("/")


def _described(event: str, args: tuple[Any, ...]) -> str:
    # Of a file the name helps to find the place. Other arguments may hold secrets.
    shown = repr(args[0]) if event == "open" and args else ""
    return f"{_KNOWN_AS.get(event, event)}({shown})"
