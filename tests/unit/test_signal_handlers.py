"""Signals that have handlers: each starts one, in order, and the run waits for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from loom.errors import DefinitionError
from loom.history.status import RunStatus
from tests.engine_harness import Play
from tests.unit.workflows import Ctx, add, clean, fetch


class Basket(loom.Workflow[Any, Any]):
    """Collects what it is sent until it is told to go on."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.closed = asyncio.Event()

    async def run(self, ctx: Ctx) -> Any:
        await self.closed.wait()
        return self.items

    @loom.signal
    def put(self, item: str) -> None:
        self.items.append(item)

    @loom.signal
    async def fetch(self, name: str, loud: bool = False) -> None:
        found = await self.ctx.activity(fetch, name)
        self.items.append(found + "!" if loud else found)

    @loom.signal
    def close(self) -> None:
        self.closed.set()


def basket(**members: Any) -> type:
    """The same with other members."""
    return loom.workflow(type("Changed", (Basket,), members))


def test_plain_and_async_handlers_take_their_signals(play: Play) -> None:
    run = play(basket())
    run.signal("put", "ink")
    run.signal("fetch", {"name": "paper", "loud": True})
    run.complete("fetch", "PAPER")
    run.signal("close")
    assert run.result == ["ink", "PAPER!"]


def test_handlers_begin_in_the_order_of_arrival_also_in_one_turn(play: Play) -> None:
    run = play(basket())
    run.deliver(
        run.signalled("put", "a"),
        run.signalled("fetch", {"name": "b"}),
        run.signalled("put", "c"),
        run.signalled("fetch", {"name": "d"}),
    )
    assert [scheduled.activity_id for scheduled in run.pending] == [1, 2]
    run.complete("fetch", "B")
    run.deliver(run.signalled("close"), run.completed("fetch", "D"))
    assert run.result == ["a", "c", "B", "D"]


def test_handlers_have_the_context_from_the_beginning(play: Play) -> None:
    @loom.workflow
    class Named(loom.Workflow[str, Any]):
        def __init__(self) -> None:
            self.name = self.ctx.input

        @loom.step
        async def wait(self, ctx: Ctx) -> None:
            await self.ctx.wait_for_signal("end")

        @loom.signal
        async def rename(self, name: str) -> None:
            await self.ctx.state.set("names", f"{self.name}, {name}")

    run = play(Named, "Ada")
    run.signal("rename", "Grace")
    run.signal("end")
    assert run.result == {"names": "Ada, Grace"}


def test_signals_without_a_handler_wait_to_be_asked_for(play: Play) -> None:
    async def code(self: Basket, ctx: Ctx) -> Any:
        await self.closed.wait()
        return [*self.items, await ctx.wait_for_signal("other")]

    run = play(basket(run=code))
    run.deliver(run.signalled("other", 1), run.signalled("put", "ink"), run.signalled("close"))
    assert run.result == ["ink", 1]


def test_nobody_can_wait_for_a_signal_that_a_handler_takes(play: Play) -> None:
    async def code(self: Basket, ctx: Ctx) -> Any:
        with pytest.raises(DefinitionError, match="has a handler for the signal 'put'"):
            await ctx.wait_for_signal("put")

    assert play(basket(run=code)).result is None


def test_a_dynamic_handler_takes_every_other_signal(play: Play) -> None:
    @loom.signal(dynamic=True)
    def other(self: Basket, name: str, payload: Any) -> None:
        self.items.append((name, payload))

    run = play(basket(other=other))
    run.signal("put", "ink")
    run.signal("what", {"is": "this"})
    run.signal("close")
    assert run.result == ["ink", ["what", {"is": "this"}]]


def test_a_payload_that_does_not_fit_is_dropped_and_logged(play: Play) -> None:
    run = play(basket())
    run.signal("put", {"not": "text"})
    run.signal("put", "ink")
    [line] = run.logs
    assert "signal 'put' was dropped" in line.message
    run.signal("close")
    assert run.result == ["ink"]


def test_the_end_waits_for_handlers_that_are_running(play: Play) -> None:
    run = play(basket())
    run.deliver(run.signalled("fetch", {"name": "ink"}), run.signalled("close"))
    assert run.status is RunStatus.RUNNING
    # More may come meanwhile.
    run.signal("fetch", {"name": "paper"})
    run.complete("fetch", "INK")
    assert run.status is RunStatus.RUNNING
    run.complete("fetch", "PAPER")
    assert run.result == ["INK", "PAPER"]


def test_the_end_drops_a_handler_that_may_be_abandoned(play: Play) -> None:
    ends: list[str] = []

    @loom.signal(unfinished="abandon")
    async def watch(self: Basket) -> None:
        try:
            await self.ctx.activity(clean)
        except asyncio.CancelledError:
            ends.append("cancelled")

    run = play(basket(watch=watch))
    run.deliver(run.signalled("watch"), run.signalled("close"))
    assert run.result == []
    assert ends == []


def test_code_can_wait_until_no_handler_is_running(play: Play) -> None:
    seen: list[bool] = []

    async def code(self: Basket, ctx: Ctx) -> Any:
        seen.append(ctx.handlers_finished)
        await ctx.wait_for_signal("look")
        seen.append(ctx.handlers_finished)
        await ctx.wait_for_signal("look")
        seen.append(ctx.handlers_finished)

    run = play(basket(run=code))
    run.deliver(run.signalled("fetch", {"name": "ink"}), run.signalled("look"))
    run.complete("fetch", "INK")
    run.signal("look")
    assert seen[:3] == [True, False, True]


# --- failures and cancellation -------------------------------------------------------------------


@loom.signal
async def fail(self: Basket) -> None:
    await self.ctx.activity(add, 1)
    raise ValueError("the handler's own fault")


def test_a_handler_that_raises_fails_the_run(play: Play) -> None:
    run = play(basket(fail=fail))
    run.signal("fail")
    run.complete("add", 1)
    assert run.failure.message == "the handler's own fault"


def test_the_code_may_clean_up_after_a_handler_that_raised(play: Play) -> None:
    async def code(self: Basket, ctx: Ctx) -> Any:
        try:
            await self.closed.wait()
        finally:
            await ctx.activity(clean)

    run = play(basket(fail=fail, run=code))
    run.deliver(run.signalled("fetch", {"name": "ink"}), run.signalled("fail"))
    run.complete("add", 1)
    # The other handler was cancelled with the code.
    assert [scheduled.name for scheduled in run.pending] == ["clean"]
    run.complete("clean")
    assert run.failure.message == "the handler's own fault"


def test_code_that_does_not_let_itself_be_cancelled_fails_all_the_same(play: Play) -> None:
    async def code(self: Basket, ctx: Ctx) -> Any:
        try:
            await self.closed.wait()
        except asyncio.CancelledError:
            return "went on"

    run = play(basket(fail=fail, run=code))
    run.signal("fail")
    run.complete("add", 1)
    assert run.failure.message == "the handler's own fault"


def test_a_handler_that_fails_after_the_code_has_returned_fails_the_run(play: Play) -> None:
    run = play(basket(fail=fail))
    run.deliver(run.signalled("fail"), run.signalled("close"))
    run.complete("add", 1)
    assert run.failure.message == "the handler's own fault"


def careful(name: str) -> Any:
    @loom.signal(name=name)
    async def handler(self: Basket) -> None:
        try:
            await self.ctx.activity(add, 1)
        finally:
            await self.ctx.activity(clean)

    return handler


def test_handlers_are_cancelled_when_the_code_fails_and_may_clean_up(play: Play) -> None:
    async def code(self: Basket, ctx: Ctx) -> Any:
        await self.closed.wait()
        raise ValueError("the code's own fault")

    run = play(basket(run=code, careful=careful("careful")))
    run.deliver(run.signalled("careful"), run.signalled("close"))
    assert [scheduled.name for scheduled in run.pending] == ["clean"]
    # Nothing begins any more.
    run.signal("fetch", {"name": "ink"})
    assert [scheduled.name for scheduled in run.pending] == ["clean"]
    run.complete("clean")
    assert run.failure.message == "the code's own fault"


def test_a_cancelled_run_cancels_its_handlers(play: Play) -> None:
    run = play(basket(careful=careful("careful")))
    run.signal("careful")
    run.cancel("enough")
    assert [scheduled.name for scheduled in run.pending] == ["clean"]
    run.complete("clean")
    assert run.status is RunStatus.CANCELLED


def test_a_run_that_only_waits_for_handlers_can_be_cancelled(play: Play) -> None:
    run = play(basket())
    run.deliver(run.signalled("fetch", {"name": "ink"}), run.signalled("close"))
    run.cancel("enough")
    assert run.result == []


def test_a_handler_that_cancels_itself_fails_the_run(play: Play) -> None:
    @loom.signal
    async def give_up(self: Basket) -> None:
        raise asyncio.CancelledError

    run = play(basket(give_up=give_up))
    run.signal("give_up")
    assert run.failure.type == "asyncio.exceptions.CancelledError"


def test_a_terminated_run_ends_with_its_handlers_where_they_stand(play: Play) -> None:
    run = play(basket(careful=careful("careful")))
    run.signal("careful")
    run.terminate()
    assert run.status is RunStatus.TERMINATED
