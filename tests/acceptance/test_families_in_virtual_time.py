"""Children and chains in the testing environment, where time is skipped."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import loom
from loom.testing import WorkflowEnvironment


@loom.workflow
class Sleeps(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        await ctx.sleep(timedelta(days=ctx.input))
        return ctx.input


@loom.workflow
class Year(loom.Workflow[int, Any]):
    """A month in each of its runs, spent by a child."""

    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> str:
        if ctx.input == 12:
            return "a year"
        await ctx.child(Sleeps, 30)
        return ctx.continue_as_new(ctx.input + 1)


@loom.workflow
class ForEver(loom.Workflow[None, Any]):
    async def run(self, ctx: loom.WorkflowContext[None, Any]) -> None:
        await ctx.wait_for_signal("never")


@loom.workflow
class Waits(loom.Workflow[None, Any]):
    async def run(self, ctx: loom.WorkflowContext[None, Any]) -> None:
        await ctx.child(ForEver, id="for ever")


async def test_a_year_of_months_takes_no_time() -> None:
    async with WorkflowEnvironment(workflows=[Year, Sleeps]) as env:
        began = env.now
        assert await (await env.start(Year, 0, id="year")).result() == "a year"
        assert env.now == began + timedelta(days=360)
        assert len(await env.list(id="year")) == 13


async def test_a_parent_whose_child_waits_for_ever_is_found_out() -> None:
    async with WorkflowEnvironment(workflows=[Waits, ForEver]) as env:
        handle = await env.start(Waits)
        with pytest.raises(loom.DeadlockError):
            await handle.result()
