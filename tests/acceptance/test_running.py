"""What a user writes runs, and what does not fit is refused before anything is written."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import pytest
from pydantic import BaseModel

import loom
from loom import RunStatus
from loom.runner.clock import Clock
from loom.storage.store import Store


class OrderInput(TypedDict):
    order_id: str
    amount: int


class OrderState(TypedDict, total=False):
    paid: bool
    shipped: str


@loom.activity
async def pay(order_id: str, amount: int, *, currency: str = "EUR") -> bool:
    return amount > 0 and bool(order_id) and currency == "EUR"


@loom.activity(name="ship it")
def ship(order_id: str) -> str:
    assert threading.current_thread() is not threading.main_thread()
    return f"parcel of {order_id}"


@loom.workflow(name="Order", version="2.1")
class OrderWorkflow(loom.Workflow[OrderInput, OrderState]):
    @loom.step
    async def payment(self, ctx: loom.WorkflowContext[OrderInput, OrderState]) -> None:
        paid = await ctx.activity(pay, ctx.input["order_id"], amount=ctx.input["amount"])
        await ctx.state.set("paid", paid)
        ctx.logger.info("paid: %s", paid)

    @loom.step(name="shipping")
    async def shipment(self, ctx: loom.WorkflowContext[OrderInput, OrderState]) -> None:
        if ctx.state["paid"]:
            await ctx.state.set("shipped", await ctx.activity(ship, ctx.input["order_id"]))


@dataclass
class Point:
    x: int
    y: float = 0.5


class Shape(BaseModel):
    name: str
    corners: list[Point]


@loom.activity
async def stretch(shape: Shape, by: float) -> Shape:
    return Shape(name=shape.name, corners=[Point(c.x, c.y * by) for c in shape.corners])


@loom.workflow
class Stretching(loom.Workflow[Shape, Point]):
    async def run(self, ctx: loom.WorkflowContext[Shape, Point]) -> Shape:
        await ctx.state.set("x", 3)
        return await ctx.activity(stretch, ctx.input, 2.0)


class Tally(BaseModel):
    total: int = 0
    seen: list[str] = []


@loom.workflow
class Tallying(loom.Workflow[list[int], Tally]):
    @loom.step
    async def add(self, ctx: loom.WorkflowContext[list[int], Tally]) -> None:
        for number in ctx.input:
            async with ctx.state.batch():
                await ctx.state.set("total", ctx.state.total + number)
                await ctx.state.set("seen", [*ctx.state.seen, str(number)])

    @loom.step
    async def double(self, ctx: loom.WorkflowContext[list[int], Tally]) -> None:
        await ctx.state.update(lambda tally: tally.model_copy(update={"total": tally.total * 2}))


@loom.workflow
class Echo(loom.Workflow[Any, Any]):
    async def run(self, ctx: loom.WorkflowContext[Any, Any]) -> Any:
        return ctx.input


class Strict(TypedDict):
    n: int
    note: NotRequired[str]


@loom.workflow
class Picky(loom.Workflow[Strict, Any]):
    async def run(self, ctx: loom.WorkflowContext[Strict, Any]) -> int:
        return ctx.input["n"]


WORKFLOWS = (OrderWorkflow, Stretching, Tallying, Echo, Picky)
ACTIVITIES = (pay, ship, stretch)


async def test_steps_run_in_order_and_leave_the_state_as_the_result(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await app.start(OrderWorkflow, {"order_id": "A-1", "amount": 5}, id="order-A-1")
        assert await handle.result(30) == {"paid": True, "shipped": "parcel of A-1"}
    assert handle.workflow_id == "order-A-1"
    info = await handle.info()
    assert (info.name, info.version, info.status) == ("Order", "2.1", RunStatus.COMPLETED)
    assert [line.message for line in await handle.logs()] == ["paid: True"]


async def test_the_same_result_comes_when_another_process_starts_the_run(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as client:
        handle = await client.start(OrderWorkflow, {"order_id": "A-1", "amount": 5})
        async with (
            loom.Loom(any_dsn) as app,
            app.worker(workflows=WORKFLOWS, activities=ACTIVITIES),
        ):
            assert await handle.result(30) == {"paid": True, "shipped": "parcel of A-1"}
        assert [event.type for event in await handle.history()] == [
            "WORKFLOW_STARTED",
            "ACTIVITY_SCHEDULED",
            "ACTIVITY_COMPLETED",
            "STATE_SET",
            "ACTIVITY_SCHEDULED",
            "ACTIVITY_COMPLETED",
            "STATE_SET",
            "WORKFLOW_COMPLETED",
        ]
        assert len(await handle.logs()) == 1


async def test_models_and_dataclasses_come_back_as_what_they_were(app: loom.Loom) -> None:
    shape = Shape(name="bar", corners=[Point(1), Point(2, 2.5)])
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await app.start(Stretching, shape)
        expected = Shape(name="bar", corners=[Point(1, 1.0), Point(2, 5.0)])
        assert await handle.result(30) == expected
        again = app.handle(handle.workflow_id, workflow=Stretching)
        assert await again.result(30) == expected


async def test_a_model_as_state_is_the_result_with_its_defaults(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS):
        assert await (await app.start(Tallying, [1, 2])).result(30) == Tally(
            total=6, seen=["1", "2"]
        )
        assert await (await app.start(Tallying, [])).result(30) == Tally()


@pytest.mark.parametrize("value", [None, 0, "ünïcode \u2603", [1, [2.5]], {"a": {"b": None}}])
async def test_plain_values_come_back_as_they_are(memory_dsn: str, value: Any) -> None:
    async with loom.Loom(memory_dsn) as app, app.worker(workflows=WORKFLOWS):
        assert await (await app.start(Echo, value)).result(30) == value


@pytest.mark.parametrize("with_worker", [True, False])
@pytest.mark.parametrize("bad", [{"n": "one"}, {}, None, [1], {"n": object()}])
async def test_an_input_that_does_not_fit_is_refused_before_anything_is_written(
    memory_dsn: str, bad: Any, with_worker: bool
) -> None:
    async with (
        loom.Loom(memory_dsn) as app,
        app.worker(workflows=WORKFLOWS if with_worker else [Echo]),
    ):
        with pytest.raises(loom.PayloadError):
            await app.start(Picky, bad)
        assert await app.list() == []


@pytest.mark.parametrize("bad", ["", "x" * 1000, "nul\0", 7])
async def test_an_id_that_no_store_could_hold_is_refused(memory_dsn: str, bad: Any) -> None:
    async with loom.Loom(memory_dsn) as app:
        with pytest.raises(loom.PayloadError):
            await app.start(Echo, 1, id=bad)
        with pytest.raises(loom.PayloadError):
            app.handle(bad)


async def test_a_workflow_can_be_started_by_its_name_alone(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        given = {"order_id": "B", "amount": 0}
        handle = await app.start("Order", given, version="2.1")
        assert await handle.result(30) == {"paid": False}


async def test_start_on_the_class_uses_the_application_around_it(memory_dsn: str) -> None:
    async with loom.Loom(memory_dsn) as app, app.worker(workflows=WORKFLOWS):
        handle = await Echo.start("hello", id="greeting")
        assert await handle.result(30) == "hello"
        assert [run.workflow_id for run in await app.list()] == ["greeting"]
    with pytest.raises(loom.ConfigurationError, match="outside"):
        await Echo.start("hello")


async def test_two_applications_in_one_process_know_nothing_of_each_other(
    memory_dsn: str, migrated_sqlite_dsn: str
) -> None:
    async with loom.Loom(memory_dsn) as one, loom.Loom(migrated_sqlite_dsn) as two:
        async with one.worker(workflows=WORKFLOWS), two.worker(workflows=WORKFLOWS):
            first, second = await one.start(Echo, 1, id="x"), await two.start(Echo, 2, id="x")
            assert (await first.result(30), await second.result(30)) == (1, 2)
            # The innermost is meant, and the outer one again when it is left.
            assert await (await Echo.start(3)).result(30) == 3
            assert len(await two.list()) == 2
        assert len(await one.list()) == 1


async def test_an_application_that_is_not_open_says_so(memory_dsn: str) -> None:
    app = loom.Loom(memory_dsn)
    with pytest.raises(loom.ConfigurationError, match="not open"):
        await app.start(Echo, 1)
    async with app:
        with pytest.raises(loom.ConfigurationError, match="open already"):
            await app.__aenter__()
        await app.start(Echo, 1)
    with pytest.raises(loom.ConfigurationError, match="not open"):
        app.handle("x")
    async with app:
        assert len(await app.list()) == 1


@pytest.mark.parametrize("error", [loom.StoreUnavailableError("away"), asyncio.CancelledError()])
async def test_an_application_that_cannot_be_opened_leaves_no_database_open(
    any_dsn: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Store] = []
    closed: list[Store] = []

    class Watched(loom.Loom):
        async def _open_store(self) -> Store:
            store = await super()._open_store()
            opened.append(store)
            close = store.close

            async def closing() -> None:
                closed.append(store)
                await close()

            monkeypatch.setattr(store, "close", closing)
            return store

        def _make_clock(self) -> Clock:
            clock = super()._make_clock()
            monkeypatch.setattr(clock, "synchronise", failing)
            return clock

    async def failing(repository: object) -> None:
        raise error

    with pytest.raises(type(error)):
        await Watched(any_dsn).__aenter__()
    assert opened == closed != []


async def test_an_application_may_be_left_in_another_task_than_it_was_entered(
    migrated_sqlite_dsn: str,
) -> None:
    app = loom.Loom(migrated_sqlite_dsn)
    await asyncio.create_task(app.__aenter__())
    await app.start(Echo, 1)
    await asyncio.create_task(app.__aexit__(None, None, None))
    with pytest.raises(loom.ConfigurationError):
        await app.list()


def test_importing_and_defining_starts_nothing() -> None:
    code = """
import sys, threading, socket
import loom
@loom.activity
def a() -> None: ...
@loom.workflow
class W(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> None: ...
app = loom.Loom("sqlite:///nowhere/at/all.db")
assert threading.active_count() == 1, threading.enumerate()
assert "sqlalchemy" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
