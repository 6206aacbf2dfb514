"""Runs outlive the code that they began with, on every store."""

from __future__ import annotations

from typing import Any

import pytest

import loom
from loom import RunStatus, Settings
from loom.engine.flags import NEW_RUN_FLAGS
from tests.conditions import cut_off, eventually

type Context = loom.WorkflowContext[Any, Any]


@loom.activity
async def greet(name: str) -> str:
    return f"hello {name}"


@loom.activity
async def look_up(name: str) -> str:
    return name.title()


class Base(loom.Workflow[str, Any]):
    pass


@loom.workflow(name="Greeting")
class Before(Base):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        await ctx.wait_for_signal("go")
        return await ctx.activity(greet, ctx.input)


@loom.workflow(name="Greeting")
class Patched(Base):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        name = ctx.input
        if ctx.patched("look up"):
            name = await ctx.activity(look_up, name)
        await ctx.wait_for_signal("go")
        return await ctx.activity(greet, name)


@loom.workflow(name="Greeting")
class Deprecated(Base):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        ctx.deprecate_patch("look up")
        name = await ctx.activity(look_up, ctx.input)
        await ctx.wait_for_signal("go")
        return await ctx.activity(greet, name)


@loom.workflow(name="Greeting")
class After(Base):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        name = await ctx.activity(look_up, ctx.input)
        await ctx.wait_for_signal("go")
        return await ctx.activity(greet, name)


@loom.workflow(name="Greeting", version="2")
class Second(Base):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        return f"version 2 of {ctx.input}"


ACTIVITIES = (greet, look_up)


async def waits_for_go(handle: loom.WorkflowHandle[Any], *, after: str) -> bool:
    """Whether the run has come to its signal: what comes before it is recorded."""
    info = await handle.info()
    types = [event.type for event in await handle.history()]
    return types[-1:] == [after] and info.worker is None


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "evicted"])
async def test_a_patch_lives_through_three_deployments(any_dsn: str, cached: int) -> None:
    settings = Settings(max_cached_runs=cached, lease_seconds=0.5)
    async with loom.Loom(any_dsn, settings=settings) as app:
        handles = {}
        for code in (Before, Patched, Deprecated):
            async with loom.Loom(any_dsn, settings=settings) as dying:
                worker = dying.worker(workflows=[code], activities=ACTIVITIES)
                async with worker:
                    handle = await app.start(code, "ada", id=code.__name__)
                    last = "WORKFLOW_STARTED" if code is Before else "ACTIVITY_COMPLETED"
                    await eventually(lambda: waits_for_go(handle, after=last))  # noqa: B023
                    handles[code] = handle
                    cut_off(worker)
        async with app.worker(workflows=[Patched], activities=ACTIVITIES):
            await handles[Before].signal("go")
            assert await handles[Before].result(30) == "hello ada"
        async with app.worker(workflows=[Deprecated], activities=ACTIVITIES):
            await handles[Patched].signal("go")
            assert await handles[Patched].result(30) == "hello Ada"
        async with app.worker(workflows=[After], activities=ACTIVITIES):
            await handles[Deprecated].signal("go")
            assert await handles[Deprecated].result(30) == "hello Ada"


async def test_a_patch_that_goes_too_early_blocks_the_run_and_harms_nothing(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        async with app.worker(workflows=[Patched], activities=ACTIVITIES):
            handle = await app.start(Patched, "ada")
            await eventually(lambda: waits_for_go(handle, after="ACTIVITY_COMPLETED"))
        async with app.worker(workflows=[After], activities=ACTIVITIES):
            await handle.signal("go")
            await eventually(lambda: is_blocked(handle))
        reason = (await handle.info()).blocked_reason
        assert reason is not None
        assert "ctx.deprecate_patch('look up')" in reason
        async with app.worker(workflows=[Patched], activities=ACTIVITIES):
            assert await handle.result(30) == "hello Ada"


async def is_blocked(handle: loom.WorkflowHandle[Any]) -> bool:
    return await handle.status() is RunStatus.BLOCKED


async def test_one_worker_serves_several_versions_side_by_side(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        old = await app.start(Before, "ada", id="old")
        new = await app.start(Second, "ada", id="new")
        await old.signal("go")
        async with app.worker(workflows=[Second], activities=ACTIVITIES):
            assert await new.result(30) == "version 2 of ada"
            # Nobody has its version.
            assert await old.status() is RunStatus.RUNNING
        async with app.worker(workflows=[Before, Second], activities=ACTIVITIES):
            assert await old.result(30) == "hello ada"
            assert await (await app.start(Second, "bob")).result(30) == "version 2 of bob"


async def test_runs_are_started_with_the_flags_of_the_engine(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        elsewhere = await app.start(Second, "ada")
        async with app.worker(workflows=[Second]):
            here = await app.start(Second, "bob")
            for handle in (elsewhere, here):
                await handle.result(30)
                started = (await handle.history())[0]
                assert tuple(started.attributes["flags"]) == NEW_RUN_FLAGS
