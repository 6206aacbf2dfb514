"""Queries, as a user asks them: typed, by name, live, replayed, of closed and of blocked runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually
from tests.faults import Counting, watched_app

type Context = loom.WorkflowContext[Any, Any]


@loom.activity
async def pack(item: str) -> str:
    return f"packed {item}"


@loom.workflow(name="Order")
class Order(loom.Workflow[list[str], dict[str, Any]]):
    def __init__(self) -> None:
        self.packed: list[str] = []

    async def run(self, ctx: Context) -> str:
        for item in ctx.input:
            self.packed.append(await ctx.activity(pack, item))
        ctx.logger.info("all packed")
        await ctx.wait_for_signal("send")
        return "sent"

    @loom.query
    def progress(self, of: int = 100) -> float:
        return of * len(self.packed) / len(self.ctx.input)

    @loom.query
    def contents(self, start: int, end: int | None = None) -> list[str]:
        return self.packed[start:end]


@loom.workflow(name="Order")
class ChangedOrder(loom.Workflow[list[str], dict[str, Any]]):
    async def run(self, ctx: Context) -> str:
        await ctx.sleep(1)
        return "sent"

    @loom.query
    def progress(self, of: int = 100) -> float:
        return 0.0


ITEMS = ["ink", "paper"]


def worker_of(app: loom.Loom) -> loom.Worker:
    return app.worker(workflows=[Order], activities=[pack])


async def packed(app: loom.Loom, id: str = "order") -> loom.WorkflowHandle[str]:
    """A run that has packed everything and waits."""
    handle = await app.start(Order, ITEMS, id=id)

    async def waits() -> bool:
        return bool(await handle.logs())

    await eventually(waits)
    return handle


async def test_a_waiting_run_answers_typed_and_by_name(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await packed(app)
        assert await handle.query(Order.progress) == 100.0
        assert await handle.query(Order.progress, of=1) == 1.0
        assert await handle.query(Order.contents, 0, end=1) == ["packed ink"]
        other = app.handle("order")
        assert await other.query("progress") == 100.0
        assert await other.query("progress", 10) == 10.0
        assert await other.query("contents", {"start": 1}) == ["packed paper"]


async def test_a_run_that_works_on_an_activity_answers(app: loom.Loom) -> None:
    may_end = asyncio.Event()

    @loom.activity(name="pack")
    async def slow_pack(item: str) -> str:
        await may_end.wait()
        return item

    async with app.worker(workflows=[Order], activities=[slow_pack]):
        handle = await app.start(Order, ITEMS)
        assert await handle.query(Order.progress) == 0.0
        may_end.set()


async def test_a_live_run_is_asked_without_reading_its_history(any_dsn: str) -> None:
    counting = Counting()
    async with watched_app(any_dsn, counting) as app, worker_of(app):
        handle = await packed(app)
        await eventually(lambda: not any(worker._owned._owned for worker in app._workers))
        counting.calls.clear()
        counting.rows_read = 0
        assert await handle.query(Order.progress) == 100.0
        assert (dict(counting.calls), counting.rows_read) == ({"find_run": 1}, 0)


async def test_a_run_is_asked_where_no_worker_is(app: loom.Loom, any_dsn: str) -> None:
    async with worker_of(app):
        await packed(app)
    before = await app.handle("order").history()
    logs = await app.handle("order").logs()
    handle = app.handle("order", workflow=Order)
    assert await handle.query(Order.progress) == 100.0
    assert await handle.query("progress") == 100.0
    # Nothing of it is written.
    assert await handle.history() == before
    assert await handle.logs() == logs
    assert (await handle.info()).worker is None


async def test_a_closed_run_answers(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await packed(app)
        await handle.signal("send")
        assert await handle.result(30) == "sent"
        assert await handle.query(Order.progress) == 100.0
    assert await handle.query(Order.contents, 1) == ["packed paper"]


async def test_without_the_code_the_error_says_what_is_needed(app: loom.Loom) -> None:
    async with worker_of(app):
        await packed(app)
    with pytest.raises(loom.WorkflowNotServedError, match=r"'Order' in version '1': use app"):
        await app.handle("order").query("progress")


async def test_a_run_that_was_just_started_is_asked_once_it_has_begun(app: loom.Loom) -> None:
    handle = await app.start(Order, ITEMS)
    asking = asyncio.create_task(handle.query(Order.progress))
    async with worker_of(app):
        assert await asking <= 100.0


async def test_what_cannot_be_asked_says_why(
    app: loom.Loom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loom.runner.queries.PATIENCE", 0.02)
    unserved = await app.start(Order, ITEMS, id="unserved")
    with pytest.raises(loom.QueryError, match="no worker has taken it"):
        await unserved.query(Order.progress)
    with pytest.raises(loom.WorkflowNotFoundError):
        await app.handle("nobody", workflow=Order).query(Order.progress)
    async with worker_of(app):
        handle = await packed(app)
        with pytest.raises(loom.QueryError, match="no query 'weight'; it has: 'progress'"):
            await handle.query("weight")
        with pytest.raises(loom.PayloadError):
            await handle.query(Order.contents, "first")  # type: ignore[arg-type]
        with pytest.raises(loom.DefinitionError, match="is no query"):
            await handle.query(Order.run)  # type: ignore[call-arg]


async def test_a_blocked_run_tells_why_it_cannot_be_asked(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await packed(app)
    await handle.signal("send")
    changed = app.handle("order", workflow=ChangedOrder)
    async with app.worker(workflows=[ChangedOrder]):

        async def is_blocked() -> bool:
            return await handle.status() is RunStatus.BLOCKED

        await eventually(is_blocked)
        with pytest.raises(loom.QueryError, match=r"no longer asks for[^$]*The run is BLOCKED"):
            await changed.query(ChangedOrder.progress)
    # Who has the right code is answered.
    assert await handle.query(Order.progress) == 100.0


async def test_a_query_that_meddles_changes_nothing(app: loom.Loom) -> None:
    @loom.workflow
    class Meddled(loom.Workflow[None, dict[str, int]]):
        def __init__(self) -> None:
            self.numbers = [1]

        async def run(self, ctx: Context) -> list[int]:
            await ctx.wait_for_signal("end")
            return self.numbers

        @loom.query
        def meddle(self) -> int:
            self.numbers.append(2)
            return len(self.numbers)

        @loom.query
        def set(self) -> Any:
            return self.ctx.state.set("number", 1)

    async with app.worker(workflows=[Meddled]):
        handle = await app.start(Meddled)
        assert [await handle.query(Meddled.meddle) for _ in range(3)] == [2, 2, 2]
        with pytest.raises(loom.QueryFailedError, match="to be awaited"):
            await handle.query(Meddled.set)
        await handle.signal("end")
        assert await handle.result(30) == [1]


@pytest.mark.parametrize("is_held", [False, True])
async def test_a_query_that_reaches_past_its_copy_leaves_the_run_as_it_was(
    app: loom.Loom, is_held: bool
) -> None:
    may_end = asyncio.Event()

    @loom.activity
    async def hold() -> str:
        await may_end.wait()
        return "held"

    @loom.workflow
    class Reached(loom.Workflow[None, None]):
        async def run(self, ctx: Context) -> list[str]:
            event = asyncio.Event()
            # A function is no part of a copy.
            self.wake = lambda: event.set()
            holding = asyncio.ensure_future(ctx.activity(hold)) if is_held else None
            await event.wait()
            return ["woken"] if holding is None else ["woken", await holding]

        @loom.signal
        def go_on(self) -> None:
            self.wake()

        @loom.query
        def meddle(self) -> None:
            self.wake()

    async with app.worker(workflows=[Reached], activities=[hold]):
        handle = await app.start(Reached)
        for _ in range(2):
            with pytest.raises(loom.QueryFailedError, match="may only look"):
                await handle.query(Reached.meddle)
        await handle.signal(Reached.go_on)
        may_end.set()
        assert await handle.result(30) == (["woken", "held"] if is_held else ["woken"])
