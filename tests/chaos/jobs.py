"""The workflows of the chaos tests. Their activities tell a ledger that they were run."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import loom
from tests.chaos.ledger import Ledger
from tests.proof.records import NOTHING

ACTIVITIES_EACH = 5


class Place:
    """Where this process's activities write to."""

    ledger: Ledger
    die: Callable[[], None] = staticmethod(lambda: None)
    """What fatal code does, until it is mended."""


def note[T](returned: T = NOTHING) -> T:  # type: ignore[assignment]
    info = loom.activity_info()
    Place.ledger.note(info.activity_key, info.attempt, returned)
    return returned


@loom.activity
async def quick(n: int) -> int:
    return note(n + 1)


@loom.activity
def in_thread(n: int) -> int:
    result = note(n + 1)
    time.sleep(0.002)
    return result


@loom.activity
async def slow(n: int) -> int:
    result = note(n + 1)
    await asyncio.sleep(0.02)
    return result


@loom.activity
async def endless() -> None:
    note()
    await asyncio.Event().wait()


@loom.activity
def endless_in_thread() -> None:
    note()
    time.sleep(60)


@loom.activity
async def deadly() -> None:
    note()
    os._exit(7)


@loom.workflow
class Deadly(loom.Workflow[None, Any]):
    """Its one activity ends whatever process runs it."""

    async def run(self, ctx: loom.WorkflowContext[None, Any]) -> None:
        await ctx.activity(loom.with_options(deadly, queue="deadly"))


@loom.workflow
class Fatal(loom.Workflow[None, Any]):
    """Its code ends whatever process runs it, once it has been told to."""

    async def run(self, ctx: loom.WorkflowContext[None, Any]) -> int:
        told = await ctx.wait_for_signal("go", type=int)
        with loom.unguarded():
            Place.die()
        return await ctx.activity(quick, told)


@loom.workflow
class Five(loom.Workflow[int, Any]):
    """Five activities, one after the other."""

    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        n = ctx.input
        for _ in range(ACTIVITIES_EACH):
            n = await ctx.activity(quick, n)
        return n


@loom.workflow
class Mixed(loom.Workflow[int, Any]):
    """Five activities of both kinds, side by side and in turn, a sleep, a signal and state."""

    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        first = await asyncio.gather(ctx.activity(slow, ctx.input), ctx.activity(in_thread, 0))
        await ctx.state.set("first", list(first))
        await ctx.sleep(0.03)
        n = await ctx.activity(slow, first[0])
        n += await ctx.wait_for_signal("add", type=int)
        n = await ctx.activity(in_thread, n)
        return await ctx.activity(quick, n)


@loom.workflow
class Endless(loom.Workflow[bool, Any]):
    async def run(self, ctx: loom.WorkflowContext[bool, Any]) -> None:
        await ctx.activity(endless_in_thread if ctx.input else endless)


@loom.activity
async def increment(n: int) -> int:
    return n + 1


@loom.workflow
class Relay(loom.Workflow[int, Any]):
    """An activity, a signal, and another activity; no ledger, so that it may be run for hours."""

    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        n = await ctx.activity(increment, ctx.input)
        n += await ctx.wait_for_signal("add", type=int)
        return await ctx.activity(increment, n)


WORKFLOWS = (Five, Mixed, Endless, Deadly, Fatal, Relay)
ACTIVITIES = (increment, quick, in_thread, slow, endless, endless_in_thread, deadly)
