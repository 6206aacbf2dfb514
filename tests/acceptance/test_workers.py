"""Workers: what they take, and what they leave to others."""

from __future__ import annotations

import asyncio

import pytest

import loom
from loom import RunStatus, Settings
from tests.acceptance.floor import ACTIVITIES, WORKFLOWS, Adding, AddingAnew, Waiting
from tests.conditions import eventually

# --- who takes what ------------------------------------------------------------------------------


async def test_each_version_is_worked_on_by_those_who_have_it(app: loom.Loom) -> None:
    old, new = await app.start(Adding, 1), await app.start(AddingAnew, 1)
    async with app.worker(workflows=[AddingAnew], activities=ACTIVITIES):
        assert await new.result(30) == 1002
        assert (await old.info()).history_length == 0
    async with app.worker(workflows=[Adding], activities=ACTIVITIES):
        assert await old.result(30) == 4


async def test_an_activity_waits_for_a_worker_that_has_it(
    app: loom.Loom, caplog: pytest.LogCaptureFixture
) -> None:
    async with app.worker(workflows=WORKFLOWS):
        handle = await app.start(Adding, 1)
        async with app.worker(activities=ACTIVITIES):
            assert await handle.result(30) == 4
    # Said once, though the run asked three times.
    assert caplog.text.count("this one was not given it") == 1


async def test_a_queue_is_served_by_its_own_workers(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await app.start(Adding, 1, queue="heavy")
        assert await (await app.start(Adding, 5)).result(30) == 8
        assert (await handle.info()).history_length == 0
        async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES, queue="heavy"):
            assert await handle.result(30) == 4


async def test_several_workers_share_the_runs_of_a_process(app: loom.Loom) -> None:
    def worker() -> loom.Worker:
        return app.worker(workflows=WORKFLOWS, activities=ACTIVITIES, concurrency=2)

    handles = [await app.start(Adding, n) for n in range(20)]
    async with worker(), worker(), worker():
        handles += [await app.start(Adding, n) for n in range(20, 40)]
        results = await asyncio.gather(*(handle.result(30) for handle in handles))
    assert results == [n + 3 for n in range(40)]


async def test_a_worker_takes_no_more_runs_than_it_may_own_and_gets_through_all(
    any_dsn: str,
) -> None:
    settings = Settings(max_owned_runs=2, max_cached_runs=0, concurrency=1)
    async with loom.Loom(any_dsn, settings=settings) as app:
        handles = [await app.start(Adding, n) for n in range(15)]
        async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
            handles += [await app.start(Adding, n) for n in range(15, 30)]
            results = await asyncio.gather(*(handle.result(30) for handle in handles))
    assert results == [n + 3 for n in range(30)]


async def test_a_client_without_a_worker_does_all_that_a_client_does(dsn: str) -> None:
    async with (
        loom.Loom(dsn) as client,
        loom.Loom(dsn) as app,
        app.worker(workflows=WORKFLOWS, activities=ACTIVITIES),
    ):
        waiting = await client.start(Waiting, id="w")
        assert await (await client.start(Adding, 1)).result(30) == 4
        await client.handle("w").signal("go", "there")
        assert await waiting.result(30) == "there"
        assert [run.status for run in await client.list()] == [RunStatus.COMPLETED] * 2


# --- memory --------------------------------------------------------------------------------------


async def test_a_waiting_run_is_held_by_nobody_and_leaves_memory_when_asked(any_dsn: str) -> None:
    async with (
        loom.Loom(any_dsn, settings=Settings(max_cached_runs=1)) as app,
        app.worker(workflows=WORKFLOWS) as worker,
    ):
        handles = [await app.start(Waiting) for _ in range(5)]
        assert [(await handle.info()).worker for handle in handles] == [None] * 5
        assert not worker._owned._owned
        assert len(worker._owned._cache) == 1
        assert not worker._owned._held.snapshot()
        for handle in handles:
            await handle.signal("go", 1)
        assert [await handle.result(30) for handle in handles] == [1] * 5


async def test_a_worker_holds_nothing_when_everything_is_done(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES) as worker:
        handles = [await app.start(Adding, n) for n in range(10)]
        await asyncio.gather(*(handle.result(30) for handle in handles))
        await eventually(lambda: not worker._owned._held.snapshot())
        assert not worker._owned._owned
        assert not worker._owned._owned_ids
        await eventually(lambda: not worker._activities._running)
        assert len(worker._owned._cache) == 0
