"""Talking to a run is checked against its handlers, and tells what comes back."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, TypedDict, assert_type

import loom


class Item(TypedDict):
    name: str
    price: int


class Input(TypedDict):
    customer: str


@loom.workflow
class Order(loom.Workflow[Input, dict[str, int]]):
    async def run(self, ctx: loom.WorkflowContext[Input, dict[str, int]]) -> int:
        assert_type(self.ctx, loom.WorkflowContext[Input, dict[str, int]])
        return await self.add_item({"name": "ink", "price": 1})

    @loom.signal
    def remind(self) -> None: ...

    @loom.signal(name="note", unfinished="abandon")
    async def write_note(self, text: str, urgent: bool = False) -> None: ...

    @loom.signal(dynamic=True)
    def other(self, name: str, payload: Any) -> None: ...

    @loom.query
    def progress(self, of: int = 100) -> float:
        return of / 2

    @loom.query(name="names")
    def list_names(self) -> list[str]:
        return []

    @loom.update
    async def add_item(self, item: Item) -> int:
        return item["price"]

    @add_item.validator
    def check_item(self, item: Item) -> None: ...

    @loom.update(unfinished="wait")
    def rename(self, name: str, *, quietly: bool = False) -> str:
        return name


async def signals(handle: loom.WorkflowHandle[int]) -> None:
    assert_type(await handle.signal(Order.remind), None)
    await handle.signal(Order.write_note, "hello", urgent=True)
    await handle.signal("anything", {"any": 1}, request_id="r-1")
    await handle.with_request_id("r-2").signal(Order.remind)
    await handle.signal(Order.remind, 1)  # type: ignore
    await handle.signal(Order.write_note)  # type: ignore
    await handle.signal(Order.write_note, 5)  # type: ignore
    await handle.signal(Order.write_note, "hello", loudly=True)  # type: ignore


async def queries(handle: loom.WorkflowHandle[int]) -> None:
    assert_type(await handle.query(Order.progress), float)
    assert_type(await handle.query(Order.progress, of=10), float)
    assert_type(await handle.query(Order.list_names), list[str])
    assert_type(await handle.query("progress"), Any)
    await handle.query(Order.progress, "ten")  # type: ignore
    await handle.query(Order.list_names, 1)  # type: ignore


async def updates(handle: loom.WorkflowHandle[int]) -> None:
    assert_type(await handle.update(Order.add_item, {"name": "ink", "price": 1}), int)
    assert_type(await handle.update(Order.rename, "Ada", quietly=True), str)
    assert_type(await handle.update("rename", {"name": "Ada"}, request_id="r-1"), Any)
    assert_type(await handle.with_request_id("r-2").update(Order.rename, "Ada"), str)
    started = await handle.start_update(Order.add_item, {"name": "ink", "price": 1})
    assert_type(started, loom.UpdateHandle[int])
    assert_type(await started.result(timeout=5), int)
    assert_type(await handle.start_update("rename"), loom.UpdateHandle[Any])
    await handle.update(Order.add_item, {"name": "ink"})  # type: ignore
    await handle.update(Order.rename)  # type: ignore
    await handle.update(Order.rename, "Ada", loudly=True)  # type: ignore


async def starts(app: loom.Loom) -> None:
    given: Input = {"customer": "Ada"}
    assert_type(
        await app.start_with_signal(Order, given, Order.remind, id="o"), loom.WorkflowHandle[int]
    )
    assert_type(
        await app.start_with_signal(
            Order, {"customer": "Ada"}, Order.write_note, "hi", id="o", request_id="r"
        ),
        loom.WorkflowHandle[int],
    )
    by_name = await app.start_with_signal("Order", given, "note", {"text": "hi"}, id="o")
    assert_type(by_name, loom.WorkflowHandle[Any])
    await app.start_with_signal(Order, given, Order.write_note, 5, id="o")  # type: ignore
    await app.start_with_signal(Order, {"name": "Ada"}, Order.remind, id="o")  # type: ignore


def methods_stay_methods(order: Order) -> None:
    assert_type(order.progress(1), float)
    assert_type(order.rename("Ada", quietly=True), str)
    order.rename(5)  # type: ignore
    order.add_item({"name": "ink"})  # type: ignore


def wrong_definitions() -> None:
    class Wrong(loom.Workflow[None, None]):
        @loom.signal("go")  # type: ignore
        def by_position(self) -> None: ...

        @loom.query(unfinished="wait")  # type: ignore
        def unknown(self) -> None: ...

        @loom.update
        def change(self, name: str) -> None: ...

        @change.validator  # type: ignore
        async def slow(self, name: str) -> None: ...

        @change.validator
        def check(self, name: str) -> None: ...

    print(Wrong)
