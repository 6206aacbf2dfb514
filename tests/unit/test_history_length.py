"""``ctx.history_length``: the code can count its own history, and counts the same on replay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loom.authoring import context
from loom.history.events import SignalReceived
from tests.engine_harness import Play, replayed
from tests.unit.workflows import Ctx, add, clean, workflow_of


def test_it_is_the_number_of_events_up_to_here(play: Play) -> None:
    seen: list[int] = []

    async def code(ctx: Ctx) -> None:
        seen.append(ctx.history_length)
        await ctx.state.set("a", 1)
        seen.append(ctx.history_length)
        asking = asyncio.gather(*(ctx.activity(add, number) for number in range(3)))
        await asyncio.sleep(0)
        seen.append(ctx.history_length)
        await asking
        seen.append(ctx.history_length)
        ctx.side_effect(lambda: 1)
        await ctx.sleep(1)
        seen.append(ctx.history_length)

    run = play(workflow_of(code)).run(add)
    live = list(seen)
    assert live == [1, 2, 5, 8, 11]
    seen.clear()
    run.check_replay()
    assert seen == live
    assert run.instance.history_length == len(run.history)


def test_what_is_left_out_of_the_history_is_not_counted(play: Play) -> None:
    async def code(ctx: Ctx) -> int:
        try:
            async with asyncio.timeout(1):
                await ctx.activity(clean)
        except TimeoutError:
            await ctx.wait_for_signal("go")
        return ctx.history_length

    run = play(workflow_of(code))
    late = run.completed("clean")
    run.advance(1)
    run.deliver(late, SignalReceived("go", run.converter.encode(None)))
    assert run.result == len(run.history) - 1


def test_markers_of_patches_are_not_counted_since_code_forgets_them(play: Play) -> None:
    def code_with(deprecated: bool) -> Any:
        async def code(ctx: Ctx) -> list[int]:
            seen = [ctx.history_length]
            if deprecated:
                ctx.deprecate_patch("a")
            seen.append(ctx.history_length)
            await ctx.state.set("seen", seen)
            await ctx.activity(clean)
            return [*seen, ctx.history_length]

        return workflow_of(code)

    run = play(code_with(deprecated=True))
    again = replayed(code_with(deprecated=False), run.history)
    assert again.history_length == run.instance.history_length == len(run.history) - 1
    again.unwind()
    run.complete("clean")
    assert run.result == [1, 1, 4]


def test_a_long_history_is_one_to_leave_behind(monkeypatch: pytest.MonkeyPatch, play: Play) -> None:
    monkeypatch.setattr(context, "_LONG_HISTORY", 10)

    async def code(ctx: Ctx) -> int:
        while not ctx.should_continue_as_new:
            await ctx.activity(clean)
        return ctx.history_length

    assert play(workflow_of(code)).run(clean).result == 11
