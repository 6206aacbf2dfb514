"""One workflow in two versions, whose histories do not fit each other."""

from __future__ import annotations

import loom
from tests.chaos.jobs import quick


@loom.workflow(name="Letter", version="1")
class Letter1(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> str:
        await ctx.activity(quick, ctx.input)
        await ctx.sleep(0.05)
        await ctx.wait_for_signal("send")
        await ctx.activity(quick, 2)
        return "letter 1"


@loom.workflow(name="Letter", version="2")
class Letter2(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> str:
        await ctx.sleep(0.01)
        await ctx.activity(quick, ctx.input)
        await ctx.activity(quick, 1)
        await ctx.wait_for_signal("send")
        return "letter 2"
