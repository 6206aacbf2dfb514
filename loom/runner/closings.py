"""Telling those who wait in this process that a run has closed, and how."""

from __future__ import annotations

from collections.abc import Callable

from loom.history.events import Event
from loom.identifiers import RunId

type Listener = Callable[[Event], None]
"""Called on the event loop with a run's final event; must not block or raise."""


class Closings:
    """Who waits for which run."""

    def __init__(self) -> None:
        # In the order in which they came, which a set would forget.
        self._listeners: dict[RunId, list[Listener]] = {}

    def subscribe(self, run_id: RunId, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` if the run closes in this process; returns what ends that."""
        self._listeners.setdefault(run_id, []).append(listener)

        def unsubscribe() -> None:
            listeners = self._listeners.get(run_id)
            if listeners is not None and listener in listeners:
                listeners.remove(listener)
                if not listeners:
                    del self._listeners[run_id]

        return unsubscribe

    def announce(self, run_id: RunId, final: Event) -> None:
        """Called once the run's end is durable."""
        for listener in self._listeners.pop(run_id, ()):
            listener(final)
