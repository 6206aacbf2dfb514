"""What users declare and store comes back as it was, whatever its type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NotRequired, TypedDict
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from loom.errors import PayloadError
from loom.history.payloads import PayloadConverter

CONVERTER = PayloadConverter()


class Line(TypedDict):
    sku: str
    count: int
    note: NotRequired[str]


@dataclass
class Parcel:
    weight: Decimal
    lines: list[Line] = field(default_factory=list)


class Order(BaseModel):
    id: UUID
    parcels: list[Parcel]
    tags: set[str] = set()


class Open(TypedDict):
    """Takes anything else besides."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # as pydantic has it
    sku: str


class Counted(BaseModel):
    count: int


class Camel(BaseModel):
    """As people write models for the JSON of others."""

    model_config = ConfigDict(extra="forbid")
    order_id: str = Field(alias="orderId")
    parent: Camel | None = None


class CamelOut(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)
    order_id: str = Field(serialization_alias="orderId")


class Colour(Enum):
    RED = "red"


@dataclass
class Pair[T]:
    left: T
    right: T


def round_trip(value: Any, declared: Any = Any) -> Any:
    return CONVERTER.decode(CONVERTER.encode(value, declared), declared)


LINE: Line = {"sku": "A", "count": 2}
ORDER = Order(id=UUID(int=1), parcels=[Parcel(Decimal("1.50"), [LINE])], tags={"new"})
MOMENT = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=-3)))


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (LINE, Line),
        ({**LINE, "note": "fragile"}, Line),
        (Parcel(Decimal("0.1"), [LINE]), Parcel),
        (ORDER, Order),
        ([ORDER, ORDER], list[Order]),
        (Camel(orderId="1", parent=Camel(orderId="0")), Camel),
        (CamelOut(order_id="1"), CamelOut),
        (Pair(1, 2), Pair[int]),
        (Colour.RED, Colour),
        (None, None),
        (None, int | None),
        ("x", Literal["x", "y"]),
        ({"a": {1, 2}}, dict[str, set[int]]),
        ({1: "one"}, dict[int, str]),
        ((1, "a", b"\xff"), tuple[int, str, bytes]),
        ([1, 2], Sequence[int]),
        (MOMENT, datetime),
        (math.inf, float),
        (3, Annotated[int, {"unhashable": []}]),
    ],
    ids=repr,
)
def test_a_declared_value_comes_back_as_it_was(value: Any, declared: Any) -> None:
    again = round_trip(value, declared)
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(10**400),
        1.5,
        math.inf,
        -math.inf,
        "",
        "naïve \0 ☃ 𝄞",
        b"",
        b"\x00\xff",
        [1, [2.5, None]],
        {"a": {"b": []}},
        {1, 2},
        frozenset({"x"}),
        (1, "a"),
        MOMENT,
        datetime.max,
        datetime.min.replace(tzinfo=UTC),
        date(1, 1, 1),
        time(23, 59, 59, 999999, tzinfo=UTC),
        timedelta.max,
        timedelta.min,
        timedelta(microseconds=-1),
        Decimal("1E+500"),
        Decimal("-0.10"),
        Decimal("Infinity"),
        UUID(int=2**128 - 1),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_undeclared_plain_value_comes_back_by_its_tag(value: Any) -> None:
    again = round_trip(value)
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("declared", [float, Any])
def test_not_a_number_survives(declared: Any) -> None:
    assert math.isnan(round_trip(math.nan, declared))


def test_a_decimal_that_is_not_a_number_survives() -> None:
    assert round_trip(Decimal("NaN")).is_nan()


def test_an_undeclared_model_comes_back_as_plain_values() -> None:
    assert round_trip(Parcel(Decimal("1.5"), [LINE])) == {"weight": "1.5", "lines": [LINE]}


def test_a_value_is_converted_to_its_declared_type() -> None:
    assert round_trip({"weight": "1.5"}, Parcel) == Parcel(Decimal("1.5"))


def test_a_model_accepts_its_alias_from_those_who_send_plain_values() -> None:
    assert CONVERTER.decode(CONVERTER.encode({"orderId": "1"}), Camel) == Camel(orderId="1")


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (1, Annotated[int, AfterValidator(str)]),
        ([1], list[Annotated[int, AfterValidator(str)]]),
        ({"sku": "a", "count": Counted.model_construct(count="many")}, Open),
    ],
)
def test_what_does_not_fit_its_type_after_it_was_validated_is_refused(
    value: Any, declared: Any
) -> None:
    with pytest.raises(PayloadError, match="cannot be stored"):
        CONVERTER.encode(value, declared)


def test_a_payload_is_readable_json_that_names_its_type() -> None:
    assert CONVERTER.encode(LINE, Line).endswith(b'.Line",{"sku":"A","count":2}]')
    assert CONVERTER.encode([1], list[int]) == b'["list[int]",[1]]'
    assert CONVERTER.encode(datetime(2024, 1, 1)) == b'["datetime.datetime","2024-01-01T00:00:00"]'


def test_text_that_looks_like_another_type_stays_text() -> None:
    assert round_trip("2024-01-01T00:00:00") == "2024-01-01T00:00:00"
