"""The stores of the simulation: the reference, and the real SQL on SQLite."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from loom.history.status import RunStatus
from loom.identifiers import MessageId, Micros, RunKey, WorkflowId
from loom.storage.memory import MemoryRepository
from loom.storage.records import RunRecord
from loom.storage.repository import Repository
from tests.simulation.loop import SimulatedLoop


class Tier(StrEnum):
    MEMORY = "a"
    """The reference store."""
    SQL = "b"
    """The SQL of the real store, on SQLite."""


class SimulatedStore(ABC):
    """A store whose calls end at once, whoever drives them."""

    repository: Repository

    @abstractmethod
    async def read_inbox(self, run_key: RunKey) -> Sequence[MessageId]:
        """What waits there."""

    @abstractmethod
    def is_at_rest(self, excused: Collection[WorkflowId]) -> bool:
        """Whether every run has ended, but for those."""

    def drive[T](self, call: Coroutine[Any, Any, T]) -> T:
        while True:
            try:
                call.send(None)
            except StopIteration as end:
                result: T = end.value
                return result


class _MemoryRepository(MemoryRepository):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    async def current_time(self) -> Micros:
        return self._loop.micros


class _Memory(SimulatedStore):
    def __init__(self, loop: SimulatedLoop) -> None:
        self.repository: MemoryRepository = _MemoryRepository(loop)

    async def read_inbox(self, run_key: RunKey) -> Sequence[MessageId]:
        return [message.message_id for message in self.repository._runs[run_key].inbox]

    def is_at_rest(self, excused: Collection[WorkflowId]) -> bool:
        runs = self.repository._runs.values()
        return all(_is_at_rest(run.record, excused) for run in runs)


def _is_at_rest(run: RunRecord, excused: Collection[WorkflowId]) -> bool:
    is_set_apart = run.status is RunStatus.BLOCKED and run.workflow_id in excused
    return is_set_apart or not run.status.is_open


@contextmanager
def simulated_store(tier: Tier, loop: SimulatedLoop) -> Iterator[SimulatedStore]:
    yield _Memory(loop)
