"""What can be stored comes back as it was; and nothing is stored that cannot come back."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from loom.authoring.immutable import frozen
from loom.errors import PayloadError
from loom.history.failures import storable
from loom.history.payloads import PayloadConverter

CONVERTER = PayloadConverter()

TEXT = st.text()
ANY_TEXT = st.text(st.characters())  # surrogates included
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
JSON = st.recursive(
    SCALARS,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(TEXT, values, max_size=4),
    max_leaves=15,
)
PLAIN = (
    SCALARS
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.timedeltas()
    | st.sets(st.integers() | TEXT)
    | st.frozensets(st.booleans())
    | st.lists(st.integers()).map(tuple)
)


@dataclass
class Record:
    number: int
    text: str
    data: bytes
    when: datetime | None
    day: date
    pause: timedelta
    amount: Decimal
    id: UUID
    tags: frozenset[str]
    ratio: float
    nested: dict[str, list[tuple[int, bytes]]]


RECORDS = st.builds(
    Record,
    ratio=st.floats(allow_nan=False),
    amount=st.decimals(allow_nan=False, allow_infinity=False),
    when=st.none() | st.datetimes(timezones=st.just(UTC)),
)


def round_trip(value: Any, declared: Any = Any) -> Any:
    return CONVERTER.decode(CONVERTER.encode(value, declared), declared)


@given(JSON)
def test_json_comes_back_as_it_was(value: Any) -> None:
    assert round_trip(value) == value


@given(PLAIN)
def test_plain_values_come_back_by_their_tags(value: Any) -> None:
    again = round_trip(value)
    assert (type(again), again) == (type(value), value)


@given(RECORDS)
def test_declared_values_come_back_as_they_were(record: Record) -> None:
    assert round_trip(record, Record) == record
    assert round_trip([record], list[Record]) == [record]


@given(JSON)
def test_a_payload_is_json_that_others_can_read(value: Any) -> None:
    tag, stored = json.loads(CONVERTER.encode(value))
    assert isinstance(tag, str)
    assert stored == value


@given(JSON | PLAIN | ANY_TEXT | st.dictionaries(ANY_TEXT, SCALARS), st.integers(0, 300))
def test_whatever_is_stored_can_be_read(value: Any, depth: int) -> None:
    for _ in range(depth):
        value = [value]
    try:
        data = CONVERTER.encode(value)
    except PayloadError:
        return
    CONVERTER.decode(data)


@given(st.binary() | TEXT.map(str.encode) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_payload_or_a_payload_error(data: bytes) -> None:
    with contextlib.suppress(PayloadError):
        CONVERTER.decode(data)


@given(JSON)
def test_a_frozen_value_equals_the_one_it_was_made_of(value: Any) -> None:
    assert frozen(value) == value
    assert (
        CONVERTER.encode(frozen(value), Any)[1:].split(b",", 1)[1:]
        == (CONVERTER.encode(value, Any)[1:].split(b",", 1)[1:])
    )


@given(ANY_TEXT, st.integers(2, 50))
def test_storable_text_is_valid_and_about_as_long_as_allowed(text: str, limit: int) -> None:
    made = storable(text, limit)
    assert "\0" not in made
    made.encode()
    assert len(made) <= limit + 50


@given(st.floats())
def test_every_float_survives(value: float) -> None:
    again = round_trip(value, float)
    assert again == value or (math.isnan(again) and math.isnan(value))
