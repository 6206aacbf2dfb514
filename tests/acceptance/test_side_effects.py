"""What a run computed once is what every worker after it sees."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import loom
from loom import Settings
from tests.conditions import cut_off, eventually

type Context = loom.WorkflowContext[Any, Any]

NUMBERS = itertools.count(1)


@loom.workflow
class Once(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> list[Any]:
        first = ctx.side_effect(lambda: next(NUMBERS))
        await ctx.wait_for_signal("go")
        second = ctx.side_effect(lambda: next(NUMBERS))
        await ctx.wait_for_signal("go")
        return [first, second]


async def recorded(handle: loom.WorkflowHandle[Any]) -> list[Any]:
    return [e.value for e in await handle.history() if e.type == "SIDE_EFFECT_RECORDED"]


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "evicted"])
async def test_a_side_effect_is_what_the_history_says(any_dsn: str, cached: int) -> None:
    settings = Settings(max_cached_runs=cached, lease_seconds=0.5)
    async with loom.Loom(any_dsn, settings=settings) as app:
        async with (
            loom.Loom(any_dsn, settings=settings) as dying,
            dying.worker(workflows=[Once]) as worker,
        ):
            handle = await app.start(Once)
            await eventually(lambda: has(handle, 1))
            cut_off(worker)
        await handle.signal("go")
        async with app.worker(workflows=[Once]):
            await eventually(lambda: has(handle, 2))
        values = await recorded(handle)
        await handle.signal("go")
        async with app.worker(workflows=[Once]):
            assert await handle.result(30) == values
        assert await recorded(handle) == values
        assert len(set(values)) == 2


async def has(handle: loom.WorkflowHandle[Any], count: int) -> bool:
    return len(await recorded(handle)) == count
