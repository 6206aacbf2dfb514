"""Waits for what the run's own code brings about go on wherever they were, on every store."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

import loom
from loom import RunStatus, Settings
from loom.engine.instance import WorkflowInstance
from loom.identifiers import END_OF_TIME
from loom.testing import WorkflowEnvironment
from tests.conditions import cut_off, eventually

type Context = loom.WorkflowContext[Any, Any]


@loom.activity
async def echo(number: int) -> int:
    return number


@loom.workflow
class Collecting(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> list[Any]:
        got: list[Any] = []

        async def listen() -> None:
            while True:
                got.append(await ctx.wait_for_signal("item"))

        listening = asyncio.create_task(listen())
        await ctx.wait_until(lambda: len(got) >= ctx.input)
        listening.cancel()
        try:
            await ctx.wait_until(lambda: len(got) > ctx.input, timeout=0.02)
        except TimeoutError:
            got.append("no more")
        return got


@loom.workflow
class Racing(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> list[Any]:
        signals = [asyncio.create_task(ctx.wait_for_signal(name)) for name in "abc"]
        done, pending = await loom.wait(signals, return_when=asyncio.FIRST_COMPLETED)
        rest = loom.as_completed([*pending, ctx.activity(echo, 7)], timeout=600)
        return [task.result() for task in done] + [await task async for task in rest]


@loom.workflow
class Endless(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> None:
        await asyncio.gather(*(ctx.sleep(math.inf) for _ in range(3)))


WORKFLOWS = (Collecting, Racing, Endless)


def worker_of(app: loom.Loom) -> loom.Worker:
    return app.worker(workflows=WORKFLOWS, activities=[echo])


async def received(handle: loom.WorkflowHandle[Any], count: int) -> bool:
    return sum(e.type == "SIGNAL_RECEIVED" for e in await handle.history()) == count


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "evicted"])
async def test_a_condition_is_looked_at_by_whoever_has_the_run(any_dsn: str, cached: int) -> None:
    async with loom.Loom(any_dsn, settings=Settings(max_cached_runs=cached)) as app:
        async with worker_of(app):
            handle = await app.start(Collecting, 3)
            await handle.signal("item", 1)
            await eventually(lambda: received(handle, 1))
        await handle.signal("item", 2)
        async with worker_of(app):
            await eventually(lambda: received(handle, 2))
            await handle.signal("item", 3)
            assert await handle.result(30) == [1, 2, 3, "no more"]


async def test_a_condition_outlives_the_death_of_its_worker(any_dsn: str) -> None:
    settings = Settings(lease_seconds=0.5)
    async with loom.Loom(any_dsn, settings=settings) as app:
        async with loom.Loom(any_dsn, settings=settings) as dying, worker_of(dying) as worker:
            handle = await app.start(Collecting, 2)
            await handle.signal("item", "one")
            await eventually(lambda: received(handle, 1))
            cut_off(worker)
        async with worker_of(app):
            await handle.signal("item", "two")
            assert await handle.result(30) == ["one", "two", "no more"]


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "evicted"])
async def test_tasks_are_reported_in_the_order_of_the_history(any_dsn: str, cached: int) -> None:
    async with loom.Loom(any_dsn, settings=Settings(max_cached_runs=cached)) as app:
        async with worker_of(app):
            handle = await app.start(Racing)
            await handle.signal("b", "B")
            await eventually(lambda: completed(handle))
        await handle.signal("c", "C")
        await handle.signal("a", "A")
        async with worker_of(app):
            assert await handle.result(30) == ["B", 7, "C", "A"]


async def completed(handle: loom.WorkflowHandle[Any]) -> bool:
    return any(e.type == "ACTIVITY_COMPLETED" for e in await handle.history())


async def test_a_run_can_wait_for_the_end_of_time(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        async with worker_of(app):
            handle = await app.start(Endless)
            await eventually(lambda: waits(handle))
        info = await handle.info()
        end = datetime.fromtimestamp(END_OF_TIME // 10**6, UTC)
        assert info.wake_at is not None
        assert info.wake_at.replace(microsecond=0) == end
        assert info.worker is None
        async with worker_of(app):
            await handle.cancel()
            await eventually(lambda: is_cancelled(handle))


async def waits(handle: loom.WorkflowHandle[Any]) -> bool:
    return (await handle.info()).wake_at is not None


async def is_cancelled(handle: loom.WorkflowHandle[Any]) -> bool:
    return await handle.status() is RunStatus.CANCELLED


@loom.workflow
class Patient(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep(math.inf))
            group.create_task(ctx.wait_until(lambda: ctx.cancel_requested, timeout=3600))
            group.create_task(ctx.wait_for_signal("never", timeout=7200))
        return "never"


async def test_runs_that_wait_hold_nothing_but_their_row(any_dsn: str) -> None:
    async with (
        loom.Loom(any_dsn, settings=Settings(max_cached_runs=0)) as app,
        app.worker(workflows=[Patient]) as worker,
    ):
        threads = threading.active_count()
        handles = [await app.start(Patient) for _ in range(20)]
        for handle in handles:
            info = await handle.info()
            assert (info.worker, info.activities) == (None, [])
            assert info.wake_at is not None
        await eventually(lambda: not worker._owned._owned)
        ids = {handle.workflow_id for handle in handles}
        instances = [o for o in gc.get_objects() if isinstance(o, WorkflowInstance)]
        assert [o for o in instances if o.workflow_id in ids] == []
        assert threading.active_count() <= threads + 1  # the database's own pool may grow
        for handle in handles:
            await handle.terminate()


@loom.workflow
class Napping(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        await ctx.activity(echo, 1)
        async with asyncio.timeout(3600):
            return await asyncio.sleep(1800, "slept")


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "evicted"])
async def test_a_worker_knows_when_a_run_is_due_whether_it_keeps_it_or_not(cached: int) -> None:
    """In virtual time nobody looks for work from time to time, which would find it out late."""
    settings = Settings(max_cached_runs=cached)
    async with WorkflowEnvironment(
        workflows=[Napping], activities=[echo], settings=settings
    ) as env:
        handle = await env.start(Napping)
        for _ in range(5):
            await handle.signal("nudge")
        assert await handle.result() == "slept"
