"""Group commit: what is gathered, what each submitter is told, and what spoils nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from loom.errors import StoreError, StoreUnavailableError
from loom.runner import group_writer
from loom.runner.group_writer import (
    MAX_BATCH,
    MAX_BATCH_ELSEWHERE,
    WORTH_SENDING,
    GroupWriter,
)
from tests.conditions import eventually


class Disk:
    """Writes batches, one at a time, when it is let; squares are the outcomes."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.is_free = asyncio.Event()
        self.is_free.set()
        self.poisoned: set[int] = set()
        self.error: Exception = StoreError("poisoned")

    async def write(self, batch: Sequence[int]) -> list[int]:
        self.batches.append(list(batch))
        await self.is_free.wait()
        if self.poisoned.intersection(batch):
            raise self.error
        return [item * item for item in batch]


@pytest.fixture
def disk() -> Disk:
    return Disk()


async def test_what_one_round_of_the_loop_submits_goes_out_together(disk: Disk) -> None:
    writer = GroupWriter(disk.write)
    assert await asyncio.gather(*map(writer.submit, (1, 2, 3))) == [1, 4, 9]
    assert disk.batches == [[1, 2, 3]]


async def test_what_comes_during_a_write_goes_out_with_the_next(disk: Disk) -> None:
    writer = GroupWriter(disk.write)
    disk.is_free.clear()
    first = writer.submit(1)
    await eventually(lambda: disk.batches == [[1]])
    rest = [writer.submit(n) for n in range(2, MAX_BATCH + 3)]
    disk.is_free.set()
    assert await first == 1
    await asyncio.gather(*rest)
    assert [len(batch) for batch in disk.batches] == [1, MAX_BATCH, 1]


async def test_a_store_that_works_elsewhere_has_something_to_do_meanwhile(disk: Disk) -> None:
    writer = GroupWriter(disk.write, works_elsewhere=True)
    await writer.submit(0)
    submitted = [writer.submit(n) for n in range(WORTH_SENDING + 10)]
    # Before anybody has waited for anything.
    assert disk.batches == [[0], list(range(WORTH_SENDING))]
    assert await asyncio.gather(*submitted) == [n * n for n in range(WORTH_SENDING + 10)]
    assert [len(batch) for batch in disk.batches] == [1, WORTH_SENDING, 10]


async def test_a_store_that_works_elsewhere_and_is_busy_is_given_large_batches(disk: Disk) -> None:
    writer = GroupWriter(disk.write, works_elsewhere=True)
    for _ in range(2):
        await asyncio.gather(*map(writer.submit, range(200)))
    # Of the first round all, since what is usual was not known yet.
    assert [len(batch) for batch in disk.batches] == [200, 200]
    await asyncio.gather(*map(writer.submit, range(MAX_BATCH_ELSEWHERE + 1)))
    assert [len(batch) for batch in disk.batches[2:]] == [MAX_BATCH_ELSEWHERE, 1]


async def test_what_was_submitted_is_drained_before_it_has_begun(disk: Disk) -> None:
    writer = GroupWriter(disk.write)
    submitted = writer.submit(3)
    await writer.drain()
    assert submitted.result() == 9


async def test_a_poisoned_item_is_set_apart_from_its_neighbours(disk: Disk) -> None:
    writer = GroupWriter(disk.write)
    disk.poisoned = {2}
    outcomes = await asyncio.gather(*map(writer.submit, (1, 2, 3)), return_exceptions=True)
    assert outcomes == [1, disk.error, 9]
    assert disk.batches == [[1, 2, 3], [1], [2], [3]]


async def test_a_store_that_is_away_fails_the_batch_and_is_not_asked_for_each(disk: Disk) -> None:
    writer = GroupWriter(disk.write)
    disk.poisoned, disk.error = {2}, StoreUnavailableError("away")
    outcomes = await asyncio.gather(*map(writer.submit, (1, 2, 3)), return_exceptions=True)
    assert outcomes == [disk.error] * 3
    assert disk.batches == [[1, 2, 3]]
    disk.poisoned = set()
    assert await writer.submit(4) == 16


async def test_a_submitter_that_is_cancelled_harms_nobody(disk: Disk) -> None:
    writer = GroupWriter(disk.write)
    disk.is_free.clear()
    leaving, staying = asyncio.ensure_future(writer.submit(1)), writer.submit(2)
    await eventually(lambda: bool(disk.batches))
    leaving.cancel()
    disk.is_free.set()
    assert await staying == 4
    assert leaving.cancelled()
    # It was written all the same: only its outcome has nobody to go to.
    assert disk.batches == [[1, 2]]


async def test_a_submitter_that_is_cancelled_before_a_failure_leaves_no_trace(disk: Disk) -> None:
    writer = GroupWriter(disk.write)
    disk.poisoned = {1}
    leaving, staying = asyncio.ensure_future(writer.submit(1)), writer.submit(2)
    leaving.cancel()
    assert await staying == 4


async def test_an_answer_of_the_wrong_length_is_a_failure_and_not_a_hang() -> None:
    async def write(batch: Sequence[int]) -> list[int]:
        return []

    with pytest.raises(StoreError, match="outcomes"):
        await GroupWriter(write).submit(1)


async def test_draining_waits_for_all_that_was_submitted(disk: Disk) -> None:
    writer = GroupWriter(disk.write)
    futures = [writer.submit(n) for n in range(3)]
    await writer.drain()
    assert all(future.done() for future in futures)
    await writer.drain()


def test_whoever_waits_is_let_go_when_the_event_loop_is_closed() -> None:
    async def never(batch: Sequence[int]) -> Sequence[int]:
        await asyncio.Event().wait()
        return batch

    async def main() -> list[asyncio.Future[int]]:
        writer = GroupWriter(never)
        in_flight = writer.submit(1)
        await asyncio.sleep(0)
        return [in_flight, writer.submit(2)]

    assert all(future.cancelled() for future in asyncio.run(main()))


async def test_a_batch_carries_no_more_than_the_store_takes_at_once(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_writer, "MAX_BYTES", 10)
    writer = GroupWriter(disk.write, size=lambda item: item)
    assert await asyncio.gather(*map(writer.submit, (4, 6, 1, 30, 2))) == [16, 36, 1, 900, 4]
    assert disk.batches == [[4, 6], [1], [30], [2]]


async def test_what_is_too_large_for_any_batch_is_refused_and_harms_no_neighbour(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_writer, "MAX_BYTES", 10)
    monkeypatch.setattr(group_writer, "TOO_LARGE", 15)
    writer = GroupWriter(disk.write, size=lambda item: item)
    before, too_large, after = map(writer.submit, (1, 20, 2))
    with pytest.raises(StoreError, match="too much to be written at once"):
        await too_large
    assert (await before, await after) == (1, 4)
    assert disk.batches == [[1], [2]]
