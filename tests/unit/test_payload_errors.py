"""What cannot be stored, or cannot be read, is a ``PayloadError`` that says why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ForwardRef, TypedDict

import pytest
from annotated_types import Gt
from pydantic import BaseModel

from loom.authoring.activity import activity
from loom.errors import PayloadError
from loom.history.payloads import PayloadConverter
from tests.engine_harness import Play
from tests.unit.workflows import Ctx, workflow_of

CONVERTER = PayloadConverter()


class Line(TypedDict):
    sku: str
    count: int


@dataclass
class Parcel:
    weight: int
    lines: list[Line]


@dataclass
class Positive:
    count: Annotated[int, Gt(0)]


class Order(BaseModel):
    id: int


class Unknown:
    pass


def refused(value: object, declared: Any = Any) -> str:
    with pytest.raises(PayloadError) as caught:
        CONVERTER.encode(value, declared)
    return str(caught.value)


def unreadable(data: bytes, declared: Any = Any) -> str:
    with pytest.raises(PayloadError) as caught:
        CONVERTER.decode(data, declared)
    return str(caught.value)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_wrong_value_is_refused_by_its_place_and_its_declared_type() -> None:
    message = refused({"sku": "A", "count": "many"}, Line)
    assert "Line cannot be stored: count: Input should be a valid integer" in message
    assert message.endswith("(got 'many')")


def test_every_wrong_place_is_named() -> None:
    message = refused({"weight": "w", "lines": [{"sku": 1}]}, Parcel)
    assert "weight: " in message
    assert "lines.0.sku: " in message
    assert "lines.0.count: Field required" in message


def test_a_long_wrong_value_is_shown_in_part() -> None:
    assert len(refused({"sku": "A", "count": "x" * 10_000}, Line)) < 300


def test_messages_have_no_links_and_no_types_of_ours() -> None:
    message = refused("abc", int)
    assert message == (
        "A value declared as int cannot be stored: Input should be a valid integer, unable to "
        "parse string as an integer (got 'abc')"
    )


# A dataclass or a model's attribute takes anything, so that a wrong value comes as an instance.
def test_a_dataclass_is_validated_though_it_is_one_already() -> None:
    assert "weight: " in refused(Parcel("heavy", []), Parcel)  # type: ignore[arg-type]
    assert "count: " in refused(Positive(-1), Positive)


def test_a_dataclass_inside_another_type_is_validated_too() -> None:
    assert "1.weight" in refused([Parcel(1, []), Parcel("heavy", [])], list[Parcel])  # type: ignore[arg-type]


def test_a_model_that_was_changed_into_a_wrong_one_is_refused() -> None:
    order = Order(id=1)
    order.id = "one"  # type: ignore[assignment]
    assert "id" in refused(order, Order)


@pytest.mark.parametrize(
    "value",
    [object(), Unknown(), lambda: 1, {"deep": [object()]}, "\ud800", {"\udfff": 1}],
    ids=["object", "instance", "function", "nested", "surrogate", "surrogate key"],
)
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    assert "cannot be stored" in refused(value)


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    assert "cannot be stored" in refused(value)


@pytest.mark.parametrize(
    "value",
    [nested(210), nested(100_000), {"a": nested(300)}, 10**5000, [10**5000]],
    ids=["210 deep", "100,000 deep", "deep in a dict", "5,000 digits", "in a list"],
)
def test_what_could_be_written_but_not_read_back_is_refused(value: object) -> None:
    assert "cannot be stored" in refused(value)


def test_what_is_barely_not_too_deep_is_stored() -> None:
    assert CONVERTER.decode(CONVERTER.encode(nested(190))) == nested(190)


@pytest.mark.parametrize(
    "declared", [Unknown, ForwardRef("Missing"), Iterator[int], "not a type at all"], ids=str
)
def test_a_type_that_has_no_schema_is_refused(declared: Any) -> None:
    assert "cannot be stored" in refused(1, declared)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'["int"]',
        b'["int",1,2]',
        b'["int",1',
        b"[1,1]",
        b'["datetime.datetime","yesterday"]',
        b'"text"',
        b"[" * 10_000,
    ],
)
def test_bytes_that_are_no_payload_are_an_error(data: bytes) -> None:
    assert "cannot be read" in unreadable(data)


def test_a_payload_of_another_type_is_an_error() -> None:
    assert "A value declared as int cannot be read" in unreadable(b'["str","abc"]', int)


def test_an_error_whose_value_cannot_be_shown_is_still_a_payload_error() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "cannot be stored" in refused(Hostile(), int)


def test_a_tag_imports_and_calls_nothing() -> None:
    assert CONVERTER.decode(b'["os.system","echo"]') == "echo"


# --- what the value is, and of what ---


@activity
def weigh(parcel: str, grams: int) -> int:
    return grams


WHERE: dict[str, tuple[Any, str]] = {
    "arguments": (
        lambda ctx: ctx.activity(weigh, "A-1", "much"),
        "The arguments of activity 'weigh' cannot be stored: grams: Input should be a valid",
    ),
    "child": (
        lambda ctx: ctx.child("Other", Unknown()),
        "The input of workflow 'Other' declared as typing.Any cannot be stored",
    ),
    "memo": (
        lambda ctx: ctx.child("Other", memo=Unknown()),
        "The memo of workflow 'Other' declared as typing.Any cannot be stored",
    ),
    "signal": (
        lambda ctx: ctx.signal_workflow("id", "go", Unknown()),
        "The payload of signal 'go' declared as typing.Any cannot be stored",
    ),
    "state": (
        lambda ctx: ctx.state.set("total", Unknown()),
        "The value of ctx.state 'total' declared as typing.Any cannot be stored",
    ),
    "side effect": (
        lambda ctx: _side_effect(ctx),
        "The result of a side effect declared as int cannot be stored",
    ),
}


async def _side_effect(ctx: Ctx) -> None:
    ctx.side_effect(lambda: "x", type=int)


@pytest.mark.parametrize("what", WHERE)
def test_an_error_says_what_the_value_is_and_of_what(play: Play, what: str) -> None:
    ask, message = WHERE[what]

    async def code(ctx: Ctx) -> None:
        await ask(ctx)

    assert message in play(workflow_of(code)).failure.message


def test_a_result_that_cannot_be_stored_is_named(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        return Unknown()

    run = play(workflow_of(code))
    assert run.failure.message.startswith("The result of workflow '")


def test_a_result_that_was_not_awaited_is_guessed(play: Play) -> None:
    async def forgotten() -> None: ...

    coroutine = forgotten()

    async def code(ctx: Ctx) -> Any:
        return {"weight": coroutine}

    run = play(workflow_of(code))
    coroutine.close()
    assert run.failure.message.endswith("Is an `await` missing?")
