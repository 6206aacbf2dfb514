"""The workflows that Loom is measured by."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, ClassVar

import loom


@loom.activity
async def double(number: int) -> int:
    return 2 * number


@loom.workflow
class OneActivity(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        return await ctx.activity(double, ctx.input)


moments: list[float] = []
"""When activities ran in this process."""


@loom.activity
async def mark(step: int) -> int:
    moments.append(time.perf_counter())
    return step


@loom.workflow
class Sequence(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        steps = 0
        for step in range(ctx.input):
            steps += await ctx.activity(mark, step) == step
        return steps


@loom.workflow
class ActivityFanOut(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        branches = (ctx.activity(double, number) for number in range(ctx.input))
        return sum(await asyncio.gather(*branches))


@loom.workflow
class ChildFanOut(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        branches = (ctx.child(OneActivity, number) for number in range(ctx.input))
        return sum(await asyncio.gather(*branches))


@loom.workflow
class Signalled(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> int:
        return await ctx.wait_for_signal("go", type=int)


@loom.workflow
class Asked(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> None:
        self.answer = ctx.input
        await ctx.wait_for_signal("end")

    @loom.query
    def question(self) -> int:
        return self.answer


@loom.workflow
class Sleeper(loom.Workflow[float, None]):
    """Sleeps until a moment, in seconds since 1970."""

    async def run(self, ctx: loom.WorkflowContext[float, None]) -> None:
        await ctx.sleep(until=datetime.fromtimestamp(ctx.input, UTC))


class Halt:
    """Where activities stop, in a process that is to be killed."""

    after: int | None = None
    halted: ClassVar[set[str]] = set()


@loom.activity
async def work(step: int) -> int:
    if Halt.after is not None and step >= Halt.after:
        Halt.halted.add(loom.activity_info().activity_key)
        await asyncio.Event().wait()
    return step


@loom.workflow
class Interrupted(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        steps = 0
        for step in range(ctx.input):
            steps += await ctx.activity(work, step) == step
        return steps


DEFINITIONS: dict[str, Any] = {
    "workflows": [
        *(OneActivity, Sequence, ActivityFanOut, ChildFanOut),
        *(Signalled, Asked, Sleeper, Interrupted),
    ],
    "activities": [double, mark, work],
}
