"""``ctx.activity`` has the parameters and the result of the function that it is given."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, assert_type
from uuid import UUID

import loom
from tests.typing.definitions import (
    OrderInput,
    OrderState,
    Receipt,
    charge,
    count_words,
    notify,
)

type Ctx = loom.WorkflowContext[OrderInput, OrderState]


async def results(ctx: Ctx) -> None:
    assert_type(await ctx.activity(charge, "A-1"), Receipt)
    assert_type(await ctx.activity(charge, "A-1", 5, dry=True), Receipt)
    assert_type(await ctx.activity(charge, order_id="A-1", cents=5), Receipt)
    assert_type(await ctx.activity(count_words, "a b"), int)
    assert_type(await ctx.activity(notify, "a@b", "c@d", retries=3), None)


async def results_of_several(ctx: Ctx) -> None:
    both = await asyncio.gather(ctx.activity(charge, "A-1"), ctx.activity(count_words, "a"))
    assert_type(both, tuple[Receipt, int])
    many = await asyncio.gather(*(ctx.activity(count_words, text) for text in ["a", "b"]))
    assert_type(many, list[int])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ctx.activity(charge, "A-1"))
    assert_type(task.result(), Receipt)
    assert_type(await asyncio.wait_for(ctx.activity(count_words, "a"), 5), int)


async def wrong_arguments(ctx: Ctx) -> None:
    await ctx.activity(charge)  # type: ignore[call-overload]
    await ctx.activity(charge, 5)  # type: ignore[call-overload]
    await ctx.activity(charge, "A-1", "5")  # type: ignore[call-overload]
    await ctx.activity(charge, "A-1", 5, True)  # type: ignore[call-overload]
    await ctx.activity(charge, "A-1", colour="red")  # type: ignore[call-arg]
    await ctx.activity(count_words, 5)  # type: ignore[call-overload]
    await ctx.activity(count_words, "a", "b")  # type: ignore[call-overload]
    await ctx.activity(notify, 5)  # type: ignore[call-overload]
    await ctx.activity("charge", "A-1")  # type: ignore[call-overload]
    await ctx.activity(charge("A-1"))  # type: ignore[call-overload]


async def wrong_results(ctx: Ctx) -> None:
    words: str = await ctx.activity(count_words, "a")  # type: ignore[call-overload]
    receipt: int = await ctx.activity(charge, "A-1")  # type: ignore[call-overload]
    print(words, receipt)


async def signals(ctx: Ctx) -> None:
    assert_type(await ctx.wait_for_signal("go"), Any)
    assert_type(await ctx.wait_for_signal("go", type=int), int)
    assert_type(await ctx.wait_for_signal("go", type=list[int], timeout=5), list[int])
    assert_type(await ctx.wait_for_signal("go", type=Receipt, timeout=timedelta(1)), Receipt)
    assert_type((await ctx.wait_for_signal("go", type=OrderInput))["order_id"], str)
    await ctx.wait_for_signal("go", timeout="5")  # type: ignore[call-overload]


async def the_rest(ctx: Ctx) -> None:
    assert_type(ctx.input, OrderInput)
    assert_type(ctx.input["order_id"], str)
    assert_type(ctx.now(), datetime)
    assert_type(ctx.uuid4(), UUID)
    assert_type(ctx.random, Random)
    assert_type(ctx.workflow_id, str)
    assert_type(ctx.is_replaying, bool)
    assert_type(ctx.state, loom.WorkflowState[OrderState])
    assert_type(ctx.state.snapshot(), OrderState)
    await ctx.state.set("paid", True)
    await ctx.state.update(lambda state: {"paid": not state.get("paid", False)})
    async with ctx.state.batch():
        await ctx.state.set("paid", False)
    await ctx.sleep(5)
    await ctx.sleep(timedelta(seconds=5))
    await ctx.sleep(until=datetime.now(UTC))
    ctx.logger.info("paid: %s", True)


async def misuse(ctx: Ctx) -> None:
    ctx.input = {"order_id": "x"}  # type: ignore[misc]
    await ctx.sleep("5")  # type: ignore[call-overload]
    await ctx.sleep()  # type: ignore[call-overload]
    await ctx.sleep(5, until=datetime.now(UTC))  # type: ignore[call-overload]
    await ctx.state.update(lambda state: 5)  # type: ignore[arg-type,return-value]


def decorators_keep_signatures() -> None:
    plain: Callable[[str], int] = count_words
    assert_type(plain("a"), int)
    assert_type(count_words("a"), int)
    count_words(5)  # type: ignore[arg-type]


async def decorated_functions_are_called_as_before() -> None:
    assert_type(await charge("A-1", 5, dry=True), Receipt)
    await charge(5)  # type: ignore[arg-type]


async def options_of_calls(ctx: Ctx) -> None:
    quick = loom.with_options(charge, start_to_close_timeout=timedelta(seconds=1), retry_count=2)
    assert_type(await ctx.activity(quick, "A-1", 5, dry=True), Receipt)
    assert_type(await ctx.activity(loom.with_options(count_words, queue="q"), "a b"), int)
    await ctx.activity(quick, 5)  # type: ignore[call-overload]
    loom.with_options(charge, retries=3)  # type: ignore[call-arg]
    try:
        await ctx.activity(charge, "A-1")
    except loom.ActivityTimeoutError as error:
        assert_type(error.timeout, loom.TimeoutType | None)
    except loom.ActivityFailedError as error:
        assert_type(error.details_as(Receipt), Receipt)


async def local_activities(ctx: Ctx) -> None:
    assert_type(await ctx.local_activity(charge, "A-1", 5, dry=True), Receipt)
    assert_type(await ctx.local_activity(count_words, "a b"), int)
    await ctx.local_activity(count_words, 5)  # type: ignore[call-overload]


def inside_of_an_activity() -> None:
    info = loom.activity_info()
    assert_type(info.heartbeat_details(), Any)
    assert_type(info.heartbeat_details(type=int), int | None)
    assert_type(info.cancelled, bool)
    assert_type(info.task_token, str)
    loom.heartbeat({"page": 5})


def wrong_options() -> None:
    @loom.activity("charge")  # type: ignore
    async def by_position() -> None: ...

    @loom.activity(retries=3)  # type: ignore
    async def unknown() -> None: ...

    @loom.activity(retry_count="3")  # type: ignore
    async def text() -> None: ...

    @loom.activity(executor="gpu")  # type: ignore
    def elsewhere() -> None: ...
