"""``ctx.state``: every change is an event, and what history holds is what is read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, NotRequired, TypedDict

import pytest
from pydantic import BaseModel, Field

from loom.authoring.compiled import workflow
from loom.authoring.state import StateSchema
from loom.authoring.workflow import Workflow, step
from loom.errors import PayloadError
from loom.history.events import StateSet, StateUpdate
from tests.engine_harness import Play, replayed
from tests.unit.workflows import Ctx, clean, workflow_of


class Cart(TypedDict):
    items: list[str]
    total: Annotated[int, Field(ge=0)]
    note: NotRequired[str]


@dataclass
class Account:
    owner: str
    balance: int = 0
    tags: list[str] = field(default_factory=list)
    limit: ClassVar[int] = 5


class Order(BaseModel):
    id: str | None = Field(default=None, alias="orderId")
    count: int = Field(default=1, gt=0)
    lines: list[str] = []


def state_events(run: Any) -> list[Any]:
    return [event for event in run.commands if isinstance(event, StateSet | StateUpdate)]


def test_one_key_is_set_by_one_event(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        before = [ctx.state.get("total"), ctx.state.get("total", 7), "total" in ctx.state]
        await ctx.state.set("total", 5)
        return [*before, ctx.state["total"], "total" in ctx.state, len(ctx.state), [*ctx.state]]

    run = play(workflow_of(code, state_type=Cart))
    assert run.result == [None, 7, False, 5, True, 1, ["total"]]
    assert [(event.type, event.key) for event in state_events(run)] == [("STATE_SET", "total")]


def test_a_key_that_was_never_set_is_a_key_error(play: Play) -> None:
    async def code(ctx: Ctx) -> list[str]:
        problems = []
        for read in (lambda: ctx.state["note"], lambda: ctx.state.note):
            try:
                read()
            except (KeyError, AttributeError) as error:
                problems.append(str(error))
        return problems

    assert play(workflow_of(code, state_type=Cart)).result == [
        "'note'",
        "The state has no 'note' yet.",
    ]


def test_values_are_converted_and_checked_by_their_declared_types(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        problems = []
        await ctx.state.set("total", "12")
        for key, value in [("total", -1), ("total", "x"), ("colour", 1), (5, 1), ("a\ud800", 1)]:
            try:
                await ctx.state.set(key, value)  # type: ignore[arg-type]
            except PayloadError as error:
                problems.append(str(error))
        return [ctx.state["total"], *problems]

    run = play(workflow_of(code, state_type=Cart))
    total, negative, text, unknown, number, unprintable = run.result
    assert total == 12
    assert "greater than or equal to 0" in negative
    assert "valid integer" in text
    assert unknown == "Cart has no field 'colour'; it has: items, total, note."
    assert number == "A state's keys are strings, not int."
    assert "unprintable" in unprintable
    assert len(state_events(run)) == 1


def test_changing_a_value_in_place_changes_nothing(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        given = ["a"]
        await ctx.state.set("items", given)
        given.append("b")
        ctx.state["items"].append("c")
        ctx.state.get("items").append("d")
        ctx.state.items.append("e")
        ctx.state.snapshot()["items"].append("f")
        return ctx.state["items"]  # type: ignore[no-any-return]

    assert play(workflow_of(code, state_type=Cart)).result == ["a"]


# --- update ---


def test_an_update_records_what_differs_as_one_event(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        await ctx.state.set("total", 1)

        def change(cart: Any) -> None:
            cart["items"] = ["a"]
            cart["note"] = "x"

        await ctx.state.update(change)
        return ctx.state.snapshot()

    run = play(workflow_of(code, state_type=Cart))
    assert run.result == {"total": 1, "items": ["a"], "note": "x"}
    assert run.converter.decode(state_events(run)[1].payload) == {"items": ["a"], "note": "x"}


def test_an_update_may_return_the_new_state(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        await ctx.state.set("a", 1)
        await ctx.state.update(lambda state: {**state, "b": 2})
        await ctx.state.update(lambda state: {"b": state["b"]})
        return ctx.state.snapshot()

    run = play(workflow_of(code))
    assert run.result == {"b": 2}
    assert state_events(run)[2].removed == ("a",)


def test_an_update_that_changes_nothing_records_nothing(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.state.set("a", [1])
        await ctx.state.update(lambda state: None)
        await ctx.state.update(lambda state: {"a": [1]})

    assert len(state_events(play(workflow_of(code)))) == 1


def test_a_value_that_only_equals_the_old_one_is_recorded(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        await ctx.state.set("flag", 1)
        await ctx.state.update(lambda state: {"flag": True})
        return ctx.state["flag"]

    assert play(workflow_of(code)).result is True


def test_an_update_that_raises_or_does_not_fit_changes_nothing(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        await ctx.state.set("total", 1)

        def failing(cart: Any) -> None:
            cart["total"] = 2
            raise ValueError("no")

        problems = []
        changes = [failing, lambda cart: {"total": -5}, lambda cart: {"wrong": 1}, lambda cart: 5]
        for change in changes:
            try:
                await ctx.state.update(change)  # type: ignore[arg-type]
            except (ValueError, PayloadError) as error:
                problems.append(type(error).__name__)
        return [ctx.state["total"], problems]

    run = play(workflow_of(code, state_type=Cart))
    assert run.result == [1, ["ValueError", "PayloadError", "PayloadError", "PayloadError"]]


# --- batches ---


def test_a_batch_is_one_event_and_is_read_from_at_once(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        await ctx.state.set("old", 1)
        async with ctx.state.batch():
            await ctx.state.set("old", 2)
            await ctx.state.set("new", ctx.state["old"] + 1)
            await ctx.state.update(lambda state: {**state, "more": state["new"] + 1})
            inside = ctx.state.snapshot()
        return [inside, ctx.state.snapshot()]

    run = play(workflow_of(code))
    assert run.result == [{"old": 2, "new": 3, "more": 4}] * 2
    assert [type(event) for event in state_events(run)] == [StateSet, StateUpdate]


def test_an_empty_batch_records_nothing(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        async with ctx.state.batch():
            pass

    assert state_events(play(workflow_of(code))) == []


def test_a_batch_that_raises_leaves_the_state_as_it_was(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        await ctx.state.set("a", 1)
        try:
            async with ctx.state.batch():
                await ctx.state.set("a", 2)
                raise ValueError
        except ValueError:
            pass
        async with ctx.state.batch():
            await ctx.state.set("b", 3)
        return ctx.state.snapshot()

    assert play(workflow_of(code)).result == {"a": 1, "b": 3}


def test_a_batch_inside_a_batch_is_refused_and_the_outer_one_goes_on(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        async with ctx.state.batch():
            await ctx.state.set("a", 1)
            with pytest.raises(PayloadError, match="inside another"):
                async with ctx.state.batch():
                    pass
            with pytest.raises(PayloadError, match="cannot be removed"):
                await ctx.state.update(lambda state: {})
            await ctx.state.set("b", 2)
        return ctx.state.snapshot()

    run = play(workflow_of(code))
    assert run.result == {"a": 1, "b": 2}
    assert len(state_events(run)) == 1


def test_a_batch_belongs_to_the_task_that_opened_it(play: Play) -> None:
    async def batching(ctx: Ctx, key: str) -> None:
        async with ctx.state.batch():
            await ctx.state.set(key, 1)
            await ctx.activity(clean)

    async def code(ctx: Ctx) -> Any:
        tasks = [asyncio.create_task(batching(ctx, key)) for key in ("a", "b")]
        await asyncio.sleep(0)
        await ctx.state.set("c", 1)
        before = ctx.state.snapshot()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        return [before, len([o for o in outcomes if o is not None]), ctx.state.snapshot()]

    run = play(workflow_of(code))
    run.fail("clean")
    run.complete("clean")
    assert run.result == [{"c": 1}, 1, {"c": 1, "b": 1}]


# --- dataclasses and models ---


def test_fields_with_defaults_have_them_before_anything_is_set(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        ctx.state.tags.append("ignored")
        return [ctx.state.balance, ctx.state["tags"], "owner" in ctx.state]

    assert play(workflow_of(code, state_type=Account)).result == [0, [], False]


def test_a_dataclass_is_updated_and_returned_as_a_whole(play: Play) -> None:
    @workflow
    class Opening(Workflow[None, Account]):
        @step
        async def open(self, ctx: Any) -> None:
            await ctx.state.set("owner", "Ada")
            await ctx.state.update(lambda account: replace(account, balance=5))

            def tag(account: Account) -> None:
                account.tags.append("new")

            await ctx.state.update(tag)

    run = play(Opening)
    assert run.result == Account("Ada", 5, ["new"])
    assert len(state_events(run)) == 3


def test_a_model_keeps_its_constraints_and_its_aliases_out_of_the_way(play: Play) -> None:
    @workflow
    class Ordering(Workflow[None, Order]):
        @step
        async def order(self, ctx: Any) -> None:
            await ctx.state.set("id", "A-1")
            with pytest.raises(PayloadError, match="greater than 0"):
                await ctx.state.set("count", 0)
            await ctx.state.update(lambda order: order.model_copy(update={"lines": ["x"]}))
            assert ctx.state.id == "A-1"

    assert play(Ordering).result == Order(orderId="A-1", lines=["x"])


def test_a_model_that_misses_a_field_at_the_end_fails_the_run(play: Play) -> None:
    @workflow
    class Incomplete(Workflow[None, Account]):
        @step
        async def nothing(self, ctx: Any) -> None: ...

    assert "Account is not complete" in play(Incomplete).failure.message


def test_attributes_of_the_proxy_itself_are_not_the_state(play: Play) -> None:
    async def code(ctx: Ctx) -> list[bool]:
        await ctx.state.set("update", 1)
        return [callable(ctx.state.update), hasattr(ctx.state, "_nothing"), hasattr(ctx.state, "x")]

    assert play(workflow_of(code)).result == [True, False, False]


@pytest.mark.parametrize("declared", [dict, dict[str, int], Any, None])
def test_a_type_without_fields_takes_any_key(declared: Any) -> None:
    schema = StateSchema(declared)
    assert (schema.fields, schema.type_of("anything"), schema.defaults()) == (None, Any, {})


# --- replay ---


def test_replay_reads_what_was_recorded_and_not_what_the_code_would_set_now(play: Play) -> None:
    prices = iter([10, 20])

    async def code(ctx: Ctx) -> Any:
        await ctx.state.set("price", next(prices))
        async with ctx.state.batch():
            await ctx.state.set("when", datetime(2024, 1, 1))
        await ctx.activity(clean)
        return ctx.state["price"]

    run = play(workflow_of(code))
    run.instance.unwind()
    run.instance = replayed(run.workflow, run.history)
    run.complete("clean")
    assert run.result == 10
    prices = iter([30])
