"""Code that would not replay is caught before anything of it is written, and mended by a deploy."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually

type Context = loom.WorkflowContext[Any, Any]


@loom.activity
async def stamp(at: float) -> str:
    return f"stamped at {at:.0f}" if at else "stamped"


@loom.workflow(name="Stamping")
class Careless(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        first = await ctx.activity(stamp, 0)
        return first + await ctx.activity(stamp, time.time())


@loom.workflow(name="Stamping")
class Mended(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        first = await ctx.activity(stamp, 0)
        return first + " and " + await ctx.activity(stamp, ctx.now().timestamp())


async def reaches(handle: loom.WorkflowHandle[Any], status: RunStatus) -> None:
    async def holds() -> bool:
        return await handle.status() is status

    await eventually(holds)


async def test_a_run_that_reads_the_clock_is_blocked_and_goes_on_once_it_is_mended(
    app: loom.Loom,
) -> None:
    async with app.worker(workflows=[Careless], activities=[stamp]):
        handle = await app.start(Careless)
        await reaches(handle, RunStatus.BLOCKED)
    reason = (await handle.info()).blocked_reason or ""
    line = Careless.__dict__["run"].__code__.co_firstlineno + 2
    assert "called time.time(), which reads this machine's clock" in reason
    assert f"at {__file__}:{line} in Careless.run: return first" in reason
    assert "use ctx.now()" in reason
    scheduled = [e.type for e in await handle.history() if e.type == "ACTIVITY_SCHEDULED"]
    assert len(scheduled) == 1
    async with app.worker(workflows=[Mended], activities=[stamp]):
        assert (await handle.result(10)).startswith("stamped and stamped at 1")


async def test_guards_that_only_warn_let_the_run_go_on(
    any_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = loom.Settings(guards="warn")
    async with (
        loom.Loom(any_dsn, settings=settings) as app,
        app.worker(workflows=[Careless], activities=[stamp]),
    ):
        assert "stamped at" in await (await app.start(Careless)).result(10)


async def test_an_activity_may_do_what_its_workflow_may_not(app: loom.Loom) -> None:
    def moment() -> float:
        return time.time()

    @loom.activity
    async def later() -> float:
        await asyncio.sleep(0)
        return moment()

    @loom.activity
    def in_a_thread() -> float:
        return moment()

    @loom.workflow
    class Timing(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> bool:
            times = await asyncio.gather(ctx.activity(later), ctx.activity(in_a_thread))
            with loom.unguarded():
                return all(times) and moment() > 0

    async with app.worker(workflows=[Timing], activities=[later, in_a_thread]):
        assert await (await app.start(Timing)).result(10) is True
