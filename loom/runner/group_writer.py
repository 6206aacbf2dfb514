"""Group commit: the writes of all runs in a process, gathered into few transactions.

When the store is idle a write goes out at once; while one is in flight the next batch gathers.
There is no timer, and so no added latency: the slower the disk, the larger the batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from loom.errors import StoreError, StoreUnavailableError

MAX_BATCH: Final = 1000
"""Larger batches gain nothing and make everybody in them wait."""

MAX_BATCH_ELSEWHERE: Final = 250
"""The same where the store works beside this process."""

MAX_BYTES: Final = 64 * 2**20
"""What a batch carries at the most, unless it is one item alone."""

TOO_LARGE: Final = 512 * 2**20
"""Bytes that no item may carry. Postgres ends a connection by which it is sent 1 GiB at once, which
looks as if it had gone away."""

WORTH_SENDING: Final = 32
"""So many together are hardly dearer than in a larger batch."""


def check_size(size: int) -> None:
    """Raises ``StoreError`` for more bytes than an item may carry."""
    if size > TOO_LARGE:
        raise StoreError(
            f"{size / 2**20:,.0f} MiB are too much to be written at once; the limit is "
            f"{TOO_LARGE / 2**20:,.0f} MiB"
        )


class GroupWriter[ItemT, OutcomeT]:
    """Batches one kind of write. Each item gets its own outcome, or its own exception.

    A store that ``works_elsewhere`` is given the first that are worth it at once, so that it has
    something to do while this process works on the others: or all of them would wait for the
    store, and then the store for all of them. With many more it is busy anyway.

    ``size`` tells how many bytes an item carries.
    """

    def __init__(
        self,
        write: Callable[[Sequence[ItemT]], Awaitable[Sequence[OutcomeT]]],
        works_elsewhere: bool = False,
        size: Callable[[ItemT], int] = lambda item: 0,
    ) -> None:
        self._write = write
        self._size = size
        self._works_elsewhere = works_elsewhere
        self._most = MAX_BATCH_ELSEWHERE if works_elsewhere else MAX_BATCH
        self._enough = self._most
        self._waiting: list[tuple[ItemT, asyncio.Future[OutcomeT]]] = []
        self._opening: asyncio.Handle | None = None
        self._flusher: asyncio.Task[None] | None = None

    def submit(self, item: ItemT) -> asyncio.Future[OutcomeT]:
        """Queue a write; the future is done when it is durable.

        It raises ``StoreUnavailableError`` when the outcome is unknown, and ``StoreError`` when
        this very item cannot be written.
        """
        future: asyncio.Future[OutcomeT] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flusher is None:
            if len(self._waiting) >= self._enough:
                self._begin()
            elif self._opening is None:
                # In the loop's next round, and so it takes along all that this round submits.
                self._opening = asyncio.get_running_loop().call_soon(self._begin)
        return future

    def _begin(self) -> None:
        """Write what is waiting, from now on."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        loop = asyncio.get_running_loop()
        flusher = asyncio.Task(self._flush(), loop=loop, name="loom-group-writer", eager_start=True)
        if not flusher.done():
            self._flusher = flusher

    async def drain(self) -> None:
        """Wait until everything submitted so far has an outcome."""
        while self._opening is not None or self._flusher is not None:
            if self._opening is not None:
                self._begin()
            if self._flusher is not None:
                await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        batch: list[tuple[ItemT, asyncio.Future[OutcomeT]]] = []
        try:
            while self._waiting:
                count = self._count_of_next()
                batch, self._waiting = self._waiting[:count], self._waiting[count:]
                if self._works_elsewhere:
                    are_few = len(batch) < 4 * WORTH_SENDING
                    self._enough = WORTH_SENDING if are_few else self._most
                await self._write_batch(batch)
        except asyncio.CancelledError:
            # The event loop is being closed: nobody can be told of an outcome any more.
            for _, future in [*batch, *self._waiting]:
                future.cancel()
            raise
        finally:
            self._flusher = None

    def _count_of_next(self) -> int:
        """How many of those that wait are written together."""
        size = 0
        for count, (item, _) in enumerate(self._waiting[: self._most]):
            size += self._size(item)
            if size > MAX_BYTES:
                return max(count, 1)
        return self._most

    async def _write_batch(self, batch: list[tuple[ItemT, asyncio.Future[OutcomeT]]]) -> None:
        try:
            if len(batch) == 1:
                check_size(self._size(batch[0][0]))
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
