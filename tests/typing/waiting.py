"""Waiting, side effects, patches and sagas keep the types of what they are given."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import assert_type
from uuid import UUID, uuid4

import loom
from tests.typing.definitions import OrderInput, OrderState, Receipt, charge, count_words, notify

type Ctx = loom.WorkflowContext[OrderInput, OrderState]


def is_ready() -> bool:
    return True


async def async_ready() -> bool:
    return True


def setting() -> Receipt:
    return Receipt(5)


async def conditions(ctx: Ctx) -> None:
    assert_type(await ctx.wait_until(is_ready), None)
    await ctx.wait_until(lambda: len(ctx.state) > 3, timeout=timedelta(days=1))
    await ctx.wait_until(async_ready)  # type: ignore[arg-type]
    await ctx.wait_until(True)  # type: ignore[arg-type]


async def several(ctx: Ctx) -> None:
    tasks = [asyncio.create_task(ctx.activity(charge, order)) for order in ("A-1", "A-2")]
    done, pending = await loom.wait(
        tasks, timeout=timedelta(hours=1), return_when=asyncio.FIRST_COMPLETED
    )
    assert_type(done, list[asyncio.Task[Receipt]])
    assert_type(pending, list[asyncio.Task[Receipt]])
    async for task in loom.as_completed(tasks, timeout=5):
        assert_type(await task, Receipt)
    async for words in loom.as_completed([ctx.activity(count_words, "a")]):
        assert_type(words.result(), int)
    for next_one in loom.as_completed(tasks):
        assert_type(await next_one, Receipt)
    await loom.wait([ctx.activity(count_words, "a")])  # type: ignore[type-var]


def side_effects(ctx: Ctx) -> None:
    assert_type(ctx.side_effect(setting), Receipt)
    assert_type(ctx.side_effect(uuid4), UUID)
    assert_type(ctx.side_effect(lambda: 5, type=int), int)
    ctx.side_effect(5)  # type: ignore[arg-type]


def patches(ctx: Ctx) -> None:
    assert_type(ctx.patched("discount"), bool)
    assert_type(ctx.deprecate_patch("discount"), None)
    ctx.patched(5)  # type: ignore[arg-type]


def looking(ctx: Ctx) -> None:
    assert_type(ctx.history_length, int)
    assert_type(ctx.should_continue_as_new, bool)
    assert_type(ctx.cancel_requested, bool)
    assert_type(ctx.cancel_reason, str | None)


async def sagas(ctx: Ctx) -> None:
    async with ctx.saga(on_error="stop") as saga:
        assert_type(saga, loom.Saga)
        saga.compensate(charge, "A-1", 5, dry=True)
        saga.compensate(notify, "a@b", retries=3)
        saga.compensate(loom.with_options(charge, retry_count=50), "A-1")
        saga.compensate(charge)  # type: ignore[call-arg]
        saga.compensate(charge, 5)  # type: ignore[arg-type]
        saga.compensate(charge, "A-1", colour="red")  # type: ignore[call-arg]
    ctx.saga(on_error="shrug")  # type: ignore[arg-type]


def errors(error: loom.CompensationFailedError) -> None:
    assert_type(error.exceptions, tuple[Exception | ExceptionGroup[Exception], ...])
