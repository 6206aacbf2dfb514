"""Short histories of many runs, read together: after a crash, or when many timers are due, whatever
is claimed has to be replayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loom.history.records import EventRecord
from loom.identifiers import RunKey
from loom.runner.group_writer import GroupWriter
from loom.storage.records import LogRecord
from loom.storage.repository import HistoryRepository

_SHORT: Final = 32
"""Events. Of longer histories a batch would take much memory, and each is worth its round trip."""


class GroupReader(HistoryRepository):
    """Reads as the repository does: at once when it is idle, and while a read is under way the next
    batch gathers."""

    def __init__(self, repository: HistoryRepository) -> None:
        self._repository = repository
        self._beginnings = GroupWriter(self._read_beginnings)

    async def read_history(
        self, run_key: RunKey, *, after: int = 0, limit: int = 1000
    ) -> Sequence[EventRecord]:
        if after or limit > _SHORT:
            return await self._repository.read_history(run_key, after=after, limit=limit)
        return (await self._beginnings.submit(run_key))[:limit]

    async def read_logs(
        self, run_key: RunKey, *, after: int = 0, limit: int = 1000
    ) -> Sequence[LogRecord]:
        return await self._repository.read_logs(run_key, after=after, limit=limit)

    async def _read_beginnings(self, run_keys: Sequence[RunKey]) -> Sequence[Sequence[EventRecord]]:
        return await self._repository.read_beginnings(run_keys, through=_SHORT)
