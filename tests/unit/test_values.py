"""Types whose objects do not change."""

from dataclasses import field, replace

import pytest

from loom.values import value


@value(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0
    name: str = field(default="", compare=False)


@value(frozen=True, slots=True)
class Place(Point):
    z: int = 0


def test_equal_ones_are_one_key() -> None:
    assert Point(1, 2) == Point(1, 2, "a")
    assert {Point(1, 2): "here"}[Point(1, 2, "b")] == "here"
    assert Point(1, 2) != Point(2, 1)
    assert Point(1) != Place(1)


def test_a_changed_copy_leaves_the_first_as_it_is() -> None:
    point = Point(1, 2)
    assert replace(point, y=3) == Point(1, 3)
    assert point == Point(1, 2)


def test_nothing_is_put_to_them_that_they_have_no_field_for() -> None:
    with pytest.raises(AttributeError):
        Point(1).colour = "red"  # type: ignore[attr-defined]
