"""Cleaning up is as durable as all else: it goes on with the next worker where the last stopped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from loom import RunStatus, Settings
from tests.conditions import cut_off, eventually

type Context = loom.WorkflowContext[Any, Any]


class Bench:
    """What was begun, and what may come to its end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end: set[str] = set()


BENCH = Bench()


@pytest.fixture(autouse=True)
def bench() -> None:
    global BENCH
    BENCH = Bench()


@loom.activity
async def do(what: str) -> str:
    bench = BENCH
    bench.begun.append(what)
    while what not in bench.may_end:
        await asyncio.sleep(0.005)
    return what


@loom.workflow
class Cleaning(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> None:
        try:
            async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
                group.create_task(ctx.activity(do, "work"))
                group.create_task(ctx.wait_until(lambda: False))
                group.create_task(ctx.wait_for_signal("never"))
        finally:
            async with asyncio.timeout(3600):
                await ctx.activity(do, "clean 1")
            await asyncio.gather(ctx.activity(do, "clean 2"), ctx.sleep(0.01))


@loom.workflow
class Shielding(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        paying = asyncio.create_task(ctx.activity(do, "pay"))
        try:
            await asyncio.shield(paying)
        except asyncio.CancelledError:
            return f"{await paying} after {ctx.cancel_reason}"
        return "not cancelled"


WORKFLOWS = (Cleaning, Shielding)


def worker_of(app: loom.Loom) -> loom.Worker:
    return app.worker(workflows=WORKFLOWS, activities=[do])


async def completed(handle: loom.WorkflowHandle[Any]) -> list[str]:
    return [e.value for e in await handle.history() if e.type == "ACTIVITY_COMPLETED"]


async def has(handle: loom.WorkflowHandle[Any], type_: str) -> bool:
    return any(event.type == type_ for event in await handle.history())


@pytest.fixture(params=[1000, 0], ids=["cached", "evicted"])
def settings(request: pytest.FixtureRequest) -> Settings:
    return Settings(max_cached_runs=request.param, lease_seconds=0.5, shutdown_grace_seconds=0)


async def test_cleaning_up_goes_on_with_the_next_worker(any_dsn: str, settings: Settings) -> None:
    async with loom.Loom(any_dsn, settings=settings) as app:
        handle = await app.start(Cleaning)
        async with loom.Loom(any_dsn, settings=settings) as dying, worker_of(dying) as worker:
            await eventually(lambda: "work" in BENCH.begun)
            await handle.cancel(reason="closing time")
            BENCH.may_end.add("clean 1")
            await eventually(lambda: "clean 2" in BENCH.begun)
            cut_off(worker)
        BENCH.may_end.add("clean 2")
        async with worker_of(app):
            with pytest.raises(loom.WorkflowCancelledError, match="closing time"):
                await handle.result(30)
        assert await completed(handle) == ["clean 1", "clean 2"]
        assert BENCH.begun.count("clean 1") == 1


async def test_what_is_shielded_goes_on_with_the_next_worker(
    any_dsn: str, settings: Settings
) -> None:
    async with loom.Loom(any_dsn, settings=settings) as app:
        handle = await app.start(Shielding)
        async with loom.Loom(any_dsn, settings=settings) as dying, worker_of(dying) as worker:
            await eventually(lambda: "pay" in BENCH.begun)
            await handle.cancel(reason="second thoughts")
            await eventually(lambda: has(handle, "WORKFLOW_CANCEL_REQUESTED"))
            cut_off(worker)
        BENCH.may_end.add("pay")
        async with worker_of(app):
            assert await handle.result(30) == "pay after second thoughts"
        assert not await has(handle, "ACTIVITY_CANCEL_REQUESTED")
        assert await handle.status() is RunStatus.COMPLETED
