"""The workflow that chaos is worked upon: all primitives in one, and it tells what it heard."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

import loom
from tests.chaos.jobs import quick, slow

THE_END = "the end"
CHAPTER = 4
"""After so many signals a tale continues as new."""


class Heard(TypedDict, total=False):
    """What has come to a tale, all its chapters together, in the order in which it came."""

    heard: list[str]
    asked: list[str]
    began: int


@loom.workflow
class Aside(loom.Workflow[int, None]):
    """A child of a tale."""

    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        await ctx.sleep(0.01)
        return await ctx.activity(quick, ctx.input)


@loom.workflow
class Tale(loom.Workflow[int, Heard]):
    """Steps, a timer and a child side by side; then signals, one by one, until the last of them.

    Updates come in between. Whoever is cancelled says a last word.
    """

    def __init__(self) -> None:
        self.updates: list[str] = []

    async def run(self, ctx: loom.WorkflowContext[int, Heard]) -> Heard:
        try:
            return await self.told(ctx)
        except asyncio.CancelledError:
            await ctx.activity(quick, 0)
            raise

    async def told(self, ctx: loom.WorkflowContext[int, Heard]) -> Heard:
        first = not ctx.state.get("began", 0)
        await ctx.state.set("began", ctx.state.get("began", 0) + 1)
        if first:
            await asyncio.gather(
                ctx.activity(slow, ctx.input),
                ctx.sleep(0.03),
                ctx.child(Aside, ctx.input),
            )
        for _ in range(CHAPTER):
            text = await ctx.wait_for_signal("hear", type=str)
            await ctx.state.set("heard", [*ctx.state.get("heard", []), text])
            if text == THE_END:
                return {
                    "heard": ctx.state["heard"],
                    "asked": ctx.state.get("asked", []),
                    "began": ctx.state["began"],
                }
            await ctx.activity(quick, 1)
        return ctx.continue_as_new()

    @loom.update
    async def ask(self, text: str) -> str:
        await self.ctx.activity(quick, 1)
        asked: list[str] = [*self.ctx.state.get("asked", []), text]
        await self.ctx.state.set("asked", asked)
        return f"{text}!"


WORKFLOWS: tuple[type[Any], ...] = (Tale, Aside)
