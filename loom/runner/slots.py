"""How many more activities a worker can run, on its event loop, in threads and in processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from loom.authoring.activity import ActivityDefinition
from loom.authoring.registry import Registry
from loom.runner.options import RunnerOptions


class Slots:
    """A place for each activity that runs; those in threads and in processes are counted apart."""

    def __init__(
        self, registry: Registry, options: RunnerOptions, on_room: Callable[[], None]
    ) -> None:
        self._activities = registry.activities
        self._free = {
            "async": options.concurrency,
            "thread": options.threads,
            "process": options.processes,
        }
        self._starved = False
        self._on_room = on_room

    def names(self) -> tuple[str, ...]:
        """The activities for which there is room now.

        When there is none for some of them, ``on_room`` is called as soon as there is.
        """
        with_room = tuple(name for name, a in self._activities.items() if self._has_room(a))
        self._starved = len(with_room) < len(self._activities)
        return with_room

    def room(self, names: Iterable[str]) -> int:
        """How many of these activities, for each of which there is room, may be taken without
        asking which."""
        return min(self._free[kind] for kind in {self._kind(name) for name in names})

    def reserve(self, name: str) -> bool:
        """Take a place, if there is one for this activity."""
        activity = self._activities.get(name)
        if activity is None or not self._has_room(activity):
            return False
        self._free[activity.kind] -= 1
        return True

    def take(self, name: str) -> None:
        """Take a place for work that has been given to us already, even beyond the limit."""
        self._free[self._kind(name)] -= 1

    def free(self, name: str) -> None:
        """Give a place back."""
        kind = self._kind(name)
        self._free[kind] += 1
        if self._starved and self._free[kind] > 0:
            self._starved = False
            self._on_room()

    def _has_room(self, activity: ActivityDefinition) -> bool:
        return self._free[activity.kind] > 0

    def _kind(self, name: str) -> str:
        activity = self._activities.get(name)
        return "async" if activity is None else activity.kind
