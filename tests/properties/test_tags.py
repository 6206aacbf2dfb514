"""Tags come back as they went, and their texts sort as they do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import loom
from loom.history.tags import TagValue, decode_tag, encode_changes, encode_tags

numbers = st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=255)
moments = st.datetimes(timezones=st.just(UTC))
tags = numbers | texts | st.booleans() | moments


def encoded(value: TagValue) -> str:
    return encode_tags({"tag": value})["tag"]


@given(tags)
def test_a_tag_comes_back_as_it_went(value: TagValue) -> None:
    back = decode_tag(encoded(value))
    assert back == value
    assert isinstance(back, bool) is isinstance(value, bool)


@given(numbers, numbers)
def test_numbers_sort_by_their_texts_whatever_their_type(one: float, two: float) -> None:
    assert (encoded(one) < encoded(two)) == (one < two)
    assert (encoded(one) == encoded(two)) == (one == two)


@given(moments, moments)
def test_moments_sort_by_their_texts(one: datetime, two: datetime) -> None:
    assert (encoded(one) < encoded(two)) == (one < two)


@given(texts, texts)
def test_texts_sort_by_code_points(one: str, two: str) -> None:
    assert (encoded(one) < encoded(two)) == (one < two)


def test_a_moment_is_the_same_tag_in_every_time_zone() -> None:
    here = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert encoded(here) == encoded(here.astimezone(UTC))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1],
        b"bytes",
        float("nan"),
        float("inf"),
        10**400,
        datetime(2026, 1, 1),
        "\0",
        "\ud800",
    ],
    ids=repr,
)
def test_what_cannot_be_a_tag_is_refused(value: Any) -> None:
    with pytest.raises(loom.PayloadError, match="'tag'"):
        encode_tags({"tag": value})


@pytest.mark.parametrize("name", ["", "\0", "x" * 256, 5, None], ids=repr)
def test_what_cannot_be_the_name_of_a_tag_is_refused(name: Any) -> None:
    with pytest.raises(loom.PayloadError, match="tag name"):
        encode_tags({name: "value"})
    with pytest.raises(loom.PayloadError, match="tag name"):
        encode_changes({name: None})


def test_a_change_may_take_a_tag_away() -> None:
    assert encode_changes({"a": None, "b": True}) == {"a": None, "b": "b1"}
