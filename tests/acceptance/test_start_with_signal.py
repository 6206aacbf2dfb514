"""Starting a run with a signal, or signalling the one that is there: one of them, in one commit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from tests.faults import Counting, Fault, Faulty, watched_app

type Context = loom.WorkflowContext[Any, Any]


@loom.workflow
class Cart(loom.Workflow[str, dict[str, int]]):
    def __init__(self) -> None:
        self.items: list[str] = []

    async def run(self, ctx: Context) -> list[str]:
        await ctx.wait_until(lambda: "end" in self.items)
        return [ctx.input, *self.items]

    @loom.signal
    def put(self, item: str) -> None:
        self.items.append(item)

    @loom.signal
    def put_many(self, items: list[str], twice: bool = False) -> None:
        self.items += items * (1 + twice)


@loom.workflow
class Other(loom.Workflow[None, None]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.wait_for_signal("put")


async def test_the_first_starts_the_run_and_the_others_signal_it(app: loom.Loom) -> None:
    async with app.worker(workflows=[Cart]):
        first = await app.start_with_signal(Cart, "Ada", Cart.put, "ink", id="cart")
        second = await app.start_with_signal(Cart, "Bob", Cart.put, "pen", id="cart")
        many = {"items": ["a"], "twice": True}
        await app.start_with_signal("Cart", "Cy", "put_many", many, id="cart")
        assert first.run_id == second.run_id
        await app.start_with_signal(Cart, "Dan", "put", "end", id="cart")
        assert await first.result(30) == ["Ada", "ink", "pen", "a", "a", "end"]
    assert len(await app.list(id="cart")) == 1


async def test_it_works_without_a_worker_and_in_one_commit(any_dsn: str) -> None:
    counting = Counting()
    async with watched_app(any_dsn, counting) as app:
        handle = await app.start_with_signal(Cart, "Ada", Cart.put, "end", id="cart")
        assert counting.commits == 1
        async with app.worker(workflows=[Cart]):
            assert await handle.result(30) == ["Ada", "end"]
        again = await app.start_with_signal(Cart, "Bob", Cart.put, "end", id="cart")
        assert again.run_id != handle.run_id


async def test_a_repeated_request_signals_once(app: loom.Loom) -> None:
    async with app.worker(workflows=[Cart]):
        for _ in range(3):
            handle = await app.start_with_signal(
                Cart, "Ada", Cart.put, "ink", id="cart", request_id="one"
            )
        await handle.with_request_id("one").signal(Cart.put, "ink")
        await handle.signal(Cart.put, "end")
        assert await handle.result(30) == ["Ada", "ink", "end"]


async def test_many_at_once_start_one_run_and_lose_no_signal(app: loom.Loom) -> None:
    async with app.worker(workflows=[Cart]):
        items = [f"{number}" for number in range(20)]
        handles = await asyncio.gather(
            *(app.start_with_signal(Cart, "Ada", Cart.put, item, id="cart") for item in items)
        )
        assert len({handle.run_id for handle in handles}) == 1
        await handles[0].signal(Cart.put, "end")
        result = await handles[0].result(30)
    assert sorted(result[1:-1]) == sorted(items)


async def test_an_unknown_outcome_is_made_good_by_doing_it_again(any_dsn: str) -> None:
    for fault in (Fault.BEFORE, Fault.AFTER, Fault.TWICE):
        async with watched_app(any_dsn, Faulty(fault, 1)) as app:
            for _ in range(2):
                try:
                    handle = await app.start_with_signal(
                        Cart, "Ada", Cart.put, "ink", id=fault.name, request_id="one"
                    )
                except loom.StoreUnavailableError:
                    continue
            async with app.worker(workflows=[Cart]):
                await handle.signal(Cart.put, "end")
                assert await handle.result(30) == ["Ada", "ink", "end"]


async def test_what_cannot_be_done_is_refused_before_anything_is_written(app: loom.Loom) -> None:
    async def refused(error: type[Exception], match: str, *args: Any, **options: Any) -> None:
        with pytest.raises(error, match=match):
            await app.start_with_signal(*args, **options)

    await refused(loom.PayloadError, "declared as", Cart, "Ada", Cart.put, 5, id="cart")
    await refused(loom.PayloadError, "declared as", Cart, 5, Cart.put, "ink", id="cart")
    await refused(loom.DefinitionError, "is no signal", Cart, "Ada", Cart.run, id="cart")
    await refused(
        loom.ConfigurationError,
        "no idempotency key",
        *(Cart, "Ada", Cart.put, "ink"),
        id="cart",
        idempotency_key="k",
    )
    assert await app.list() == []
    other = await app.start(Other, id="cart")
    await refused(
        loom.WorkflowAlreadyStartedError, "taken", Cart, "Ada", Cart.put, "ink", id="cart"
    )
    await app.start(Cart, "Ada", id="open")
    await refused(
        loom.WorkflowAlreadyStartedError,
        "running already",
        *(Cart, "Ada", Cart.put, "ink"),
        id="open",
        on_conflict="fail",
    )
    async with app.worker(workflows=[Cart, Other]):
        # Neither has been sent anything.
        await other.signal("put", "the first")
        assert await other.result(30) == "the first"
        handle = app.handle("open", workflow=Cart)
        await handle.signal(Cart.put, "end")
        assert await handle.result(30) == ["Ada", "end"]


@pytest.mark.parametrize("reuse", ["allow", "reject"])
async def test_what_is_repeated_when_the_run_has_ended_starts_no_other(
    app: loom.Loom, reuse: Any
) -> None:
    async def end(name: str, request_id: str) -> loom.WorkflowHandle[Any]:
        return await app.start_with_signal(
            Cart, name, Cart.put, "end", id="cart", reuse=reuse, request_id=request_id
        )

    async with app.worker(workflows=[Cart]):
        first = await end("Ada", "one")
        assert await first.result(30) == ["Ada", "end"]
        again = await end("Ada", "one")
        assert (again.run_id, again.is_new) == (first.run_id, False)
        if reuse == "reject":
            with pytest.raises(loom.WorkflowAlreadyStartedError):
                await end("Bob", "two")
            return
        another = await end("Bob", "two")
        assert another.run_id != first.run_id
        assert await another.result(30) == ["Bob", "end"]


async def test_a_run_may_be_replaced_by_one_with_the_signal(app: loom.Loom) -> None:
    async with app.worker(workflows=[Cart]):
        old = await app.start(Cart, "Ada", id="cart")
        new = await app.start_with_signal(
            Cart, "Bob", Cart.put, "end", id="cart", on_conflict="terminate_existing"
        )
        assert await new.result(30) == ["Bob", "end"]
        with pytest.raises(loom.WorkflowTerminatedError):
            await old.result(30)
