"""Workflows whose activities hang, until a test lets them go on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import loom

type Context = loom.WorkflowContext[Any, Any]


class Floor:
    """Where the activities of one test meet."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.may_end = threading.Event()


FLOOR = Floor()


@loom.activity
async def work(n: int) -> int:
    return n + 1


@loom.activity
async def hang() -> str:
    FLOOR.started.append("hang")
    if len(FLOOR.started) == 1:
        await asyncio.Event().wait()
    return "over"


@loom.activity
def hang_in_thread() -> str:
    FLOOR.started.append("thread")
    if len(FLOOR.started) == 1:
        FLOOR.may_end.wait(20)
    return "over"


@loom.workflow
class Adding(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        total = ctx.input
        for _ in range(3):
            total = await ctx.activity(work, total)
        return total


@loom.workflow(name="Adding", version="2")
class AddingAnew(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        return 1000 + await ctx.activity(work, ctx.input)


@loom.workflow
class Hanging(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(hang)


@loom.workflow
class HangingInThread(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(hang_in_thread)


@loom.workflow
class Waiting(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.wait_for_signal("go")


WORKFLOWS = (Adding, Hanging, HangingInThread, Waiting)
ACTIVITIES = (work, hang, hang_in_thread)
