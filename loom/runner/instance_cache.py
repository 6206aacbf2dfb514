"""Idle runs that stay in memory, so that their next turn needs no replay."""

from __future__ import annotations

from collections import OrderedDict

from loom.engine.instance import WorkflowInstance
from loom.identifiers import RunKey


class InstanceCache:
    """Live instances of runs that nobody works on now, the least recently used evicted first.

    An instance here has no lease: whoever claims its run again uses it only if the run's sequence
    is still the last one that the instance saw.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._instances: OrderedDict[RunKey, tuple[int, WorkflowInstance]] = OrderedDict()

    def put(self, run_key: RunKey, sequence: int, instance: WorkflowInstance) -> None:
        self.discard(run_key)
        self._instances[run_key] = (sequence, instance)
        while len(self._instances) > self._limit:
            _, (_, evicted) = self._instances.popitem(last=False)
            evicted.unwind()

    def take(self, run_key: RunKey, sequence: int) -> WorkflowInstance | None:
        """The instance, if it is one that saw everything up to ``sequence``."""
        entry = self._instances.pop(run_key, None)
        if entry is None:
            return None
        if entry[0] != sequence or entry[1].is_void:
            entry[1].unwind()
            return None
        return entry[1]

    def look(self, run_key: RunKey, sequence: int) -> WorkflowInstance | None:
        """The same without taking it out, as if nobody had looked."""
        entry = self._instances.get(run_key)
        if entry is None or entry[0] != sequence or entry[1].is_void:
            return None
        return entry[1]

    def discard(self, run_key: RunKey) -> None:
        entry = self._instances.pop(run_key, None)
        if entry is not None:
            entry[1].unwind()

    def clear(self) -> None:
        for run_key in tuple(self._instances):
            self.discard(run_key)

    def __len__(self) -> int:
        return len(self._instances)
