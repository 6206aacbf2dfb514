"""Group commit at its plainest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from benchmarks.subjects.limit.rows import Rows


class GroupCommit:
    """Gathers rows while a write is in flight, and writes them together."""

    def __init__(self, write: Callable[[Rows], Awaitable[None]]) -> None:
        self._write = write
        self._waiting = Rows()
        # One for all who wait for the same transaction.
        self._durable: asyncio.Future[None] | None = None
        self._flusher: asyncio.Task[None] | None = None

    async def commit(self, rows: Rows) -> None:
        """Returns when they are durable."""
        self._waiting.add(rows)
        if self._durable is None:
            self._durable = asyncio.get_running_loop().create_future()
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        await self._durable

    async def _flush(self) -> None:
        while (durable := self._durable) is not None:
            rows, self._waiting, self._durable = self._waiting, Rows(), None
            try:
                await self._write(rows)
            except Exception as error:
                durable.set_exception(error)
            else:
                durable.set_result(None)
            # Those who were waiting ask for more before the next transaction begins.
            await asyncio.sleep(0)
        self._flusher = None
