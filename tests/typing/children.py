"""Children tell the types of their results, as starts do; a run that goes on takes its input."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from typing import Any, assert_type

import loom
from tests.typing.definitions import ModelSteps, NoInput, OrderState, Receipt, Report, Run, Steps


@loom.workflow
class Listener(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> None: ...

    @loom.signal
    def hear(self, words: str, times: int = 1) -> None: ...


async def awaited(ctx: loom.WorkflowContext[int, None]) -> None:
    assert_type(await ctx.child(Steps, {"order_id": "A-1"}, id="order"), OrderState)
    assert_type(await ctx.child(Run, {"order_id": "A-1"}, queue="slow"), Receipt)
    assert_type(await ctx.child(ModelSteps, 5, parent_close_policy="cancel"), Report)
    assert_type(await ctx.child(NoInput), list[int])
    assert_type(await ctx.child("Run", {"any": 1}, version="2"), Any)
    both = await asyncio.gather(ctx.child(NoInput), ctx.child(ModelSteps, 5))
    assert_type(both, tuple[list[int], Report])


async def started(ctx: loom.WorkflowContext[int, None]) -> None:
    steps = await ctx.start_child(Steps, {"order_id": "A-1"}, parent_close_policy="abandon")
    assert_type(steps, loom.ChildHandle[OrderState])
    assert_type(await steps.result(), OrderState)
    assert_type(await ctx.start_child(Run, {"order_id": "A-1"}), loom.ChildHandle[Receipt])
    assert_type(await ctx.start_child("Run"), loom.ChildHandle[Any])


async def with_options(ctx: loom.WorkflowContext[int, None]) -> None:
    policy = loom.RetryPolicy(maximum_attempts=3, initial_interval=5)
    given = await ctx.child(NoInput, run_timeout=60, execution_timeout=600.5, retry=policy)
    assert_type(given, list[int])
    await ctx.start_child("Run", memo={"by": "Ada"}, tags={"size": 3, "region": "eu"})
    await ctx.child(NoInput, tags={"size": [3]})  # type: ignore
    await ctx.child(NoInput, delays=5)  # type: ignore


async def inherited(ctx: loom.WorkflowContext[int, None]) -> None:
    assert_type(ctx.inherited_child("a", Run), loom.ChildHandle[Receipt])
    assert_type(ctx.inherited_child("a", Steps), loom.ChildHandle[OrderState])
    assert_type(ctx.inherited_child("a"), loom.ChildHandle[Any])


async def talked_to(ctx: loom.WorkflowContext[int, None]) -> None:
    child = await ctx.start_child("Listener")
    await child.signal("hear", {"any": 1})
    await child.signal(Listener.hear, "words", times=2)
    await ctx.signal_workflow("id", Listener.hear, "words")
    await ctx.signal_workflow("id", "hear", 5, run_id="run")
    await child.signal(Listener.hear, 5)  # type: ignore
    await child.signal(Listener.hear)  # type: ignore
    await ctx.signal_workflow("id", Listener.hear, "words", time=2)  # type: ignore


async def wrong(ctx: loom.WorkflowContext[int, None]) -> None:
    await ctx.child(Run, 5)  # type: ignore
    await ctx.child(Run, {"order_id": "A-1"}, parent_close_policy="forget")  # type: ignore
    await ctx.start_child(Run, {"order_id": "A-1"}, version="2")  # type: ignore
    await ctx.signal_workflow(5, "name")  # type: ignore


def with_the_same_input(ctx: loom.WorkflowContext[int, None]) -> None:
    ctx.continue_as_new()


def with_another_input(ctx: loom.WorkflowContext[int, None]) -> None:
    ctx.continue_as_new(6, queue="slow", keep_state=False)


def as_another(ctx: loom.WorkflowContext[int, None]) -> None:
    ctx.continue_as_new(5, workflow=ModelSteps)


def with_a_wrong_input(ctx: loom.WorkflowContext[int, None]) -> None:
    ctx.continue_as_new("six")  # type: ignore


def as_another_with_a_wrong_input(ctx: loom.WorkflowContext[int, None]) -> None:
    ctx.continue_as_new("six", workflow=ModelSteps)  # type: ignore
