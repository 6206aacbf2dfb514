"""Group commit: the writes of all runs in a process, gathered into few transactions.

When the store is idle a write goes out at once; while one is in flight the next batch gathers.
There is no timer, and so no added latency: the slower the disk, the larger the batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from loom.errors import StoreError, StoreUnavailableError

MAX_BATCH: Final = 250
"""Larger batches gain nothing and make everybody in them wait."""


class GroupWriter[ItemT, OutcomeT]:
    """Batches one kind of write. Each item gets its own outcome, or its own exception."""

    def __init__(self, write: Callable[[Sequence[ItemT]], Awaitable[Sequence[OutcomeT]]]) -> None:
        self._write = write
        self._waiting: list[tuple[ItemT, asyncio.Future[OutcomeT]]] = []
        self._flusher: asyncio.Task[None] | None = None

    def submit(self, item: ItemT) -> asyncio.Future[OutcomeT]:
        """Queue a write; the future is done when it is durable.

        It raises ``StoreUnavailableError`` when the outcome is unknown, and ``StoreError`` when
        this very item cannot be written.
        """
        future: asyncio.Future[OutcomeT] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flusher is None:
            # Starts in the loop's next round, and so takes along all that this round submits.
            self._flusher = asyncio.create_task(self._flush(), name="loom-group-writer")
        return future

    async def drain(self) -> None:
        """Wait until everything submitted so far has an outcome."""
        while self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        batch: list[tuple[ItemT, asyncio.Future[OutcomeT]]] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write_batch(batch)
        except asyncio.CancelledError:
            # The event loop is being closed: nobody can be told of an outcome any more.
            for _, future in [*batch, *self._waiting]:
                future.cancel()
            raise
        finally:
            self._flusher = None

    async def _write_batch(self, batch: list[tuple[ItemT, asyncio.Future[OutcomeT]]]) -> None:
        try:
            outcomes = await self._write([item for item, _ in batch])
            if len(outcomes) != len(batch):
                raise StoreError(f"{len(batch)} writes had {len(outcomes)} outcomes.")
        except StoreUnavailableError as error:
            _fail(batch, error)
        except Exception as error:
            await self._write_apart(batch, error)
        else:
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)

    async def _write_apart(
        self, batch: list[tuple[ItemT, asyncio.Future[OutcomeT]]], error: Exception
    ) -> None:
        """One item may have spoiled the batch: find it by writing each alone.

        Every write of the port may be repeated: it is fenced, or known by its id.
        """
        if len(batch) == 1:
            _fail(batch, error)
            return
        for entry in batch:
            await self._write_batch([entry])


def _fail[ItemT, OutcomeT](
    batch: list[tuple[ItemT, asyncio.Future[OutcomeT]]], error: Exception
) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
