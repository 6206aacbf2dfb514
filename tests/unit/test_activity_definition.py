"""``@activity``: the function stays what it was, and what cannot work is refused at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from loom.authoring.activity import (
    CURRENT_ACTIVITY,
    ActivityInfo,
    activity,
    activity_definition,
    activity_info,
    is_activity,
)
from loom.errors import DefinitionError, LoomError, PayloadError
from loom.history.payloads import PayloadConverter
from loom.retry import RetryPolicy

if TYPE_CHECKING:
    from decimal import Decimal as UnknownAtRunTime


@activity
def plain(a: int, /, b: str = "x", *rest: float, c: bool = False, **more: int) -> list[int]:
    """Every kind of parameter there is."""
    return [a, len(b), len(rest), c, *more.values()]


@activity(name="charge", retry_count=3, timeout_seconds=1.5)
async def charge(_order: str) -> bool:
    return True


@activity
def untyped(a, b=2):  # type: ignore[no-untyped-def]
    return a


def test_a_decorated_function_is_called_as_before() -> None:
    assert plain(1, "ab", 0.5, c=True, d=4) == [1, 2, 1, True, 4]
    assert plain.__name__ == "plain"
    assert "Every kind" in (plain.__doc__ or "")


def test_bare_gives_the_name_of_the_function_and_no_second_attempt() -> None:
    definition = activity_definition(plain)
    assert (definition.name, definition.is_async, definition.timeout) == ("plain", False, None)
    assert definition.retry == RetryPolicy()
    assert definition.result_type == list[int]


def test_options_are_taken() -> None:
    definition = activity_definition(charge)
    assert (definition.name, definition.is_async) == ("charge", True)
    assert definition.retry.maximum_attempts == 4
    assert definition.timeout == timedelta(seconds=1.5)


def test_a_whole_policy_is_taken() -> None:
    policy = RetryPolicy(maximum_attempts=None)
    assert activity_definition(activity(retry=policy)(lambda: None)).retry is policy


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1,), {}), ((1, "b"), {}), ((1, "b", 0.5, 1.5), {"c": True, "d": 1}), ((1,), {"b": "z"})],
)
def test_arguments_survive_being_stored(args: Any, kwargs: Any) -> None:
    definition, converter = activity_definition(plain), PayloadConverter()
    payload = converter.encode(definition.bind(args, kwargs), definition.arguments_type)
    arguments = converter.decode(payload, definition.arguments_type)
    assert definition.call(arguments) == plain(*args, **kwargs)


def test_a_default_is_left_to_the_function() -> None:
    assert activity_definition(plain).bind((1,), {}) == {"a": 1}


def test_arguments_without_types_are_anything() -> None:
    definition, converter = activity_definition(untyped), PayloadConverter()
    payload = converter.encode(definition.bind(({"x": [1]},), {}), definition.arguments_type)
    assert converter.decode(payload, definition.arguments_type) == {"a": {"x": [1]}}
    assert definition.result_type is Any


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: '_order'"),
        (("a", "b"), {}, "too many positional arguments"),
        (("a",), {"retry_count": 1}, "unexpected keyword argument 'retry_count'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(args: Any, kwargs: Any, problem: str) -> None:
    with pytest.raises(PayloadError, match=f"Activity 'charge': .*{problem}"):
        activity_definition(charge).bind(args, kwargs)


class Callable_:
    def __call__(self) -> None:
        pass


@pytest.mark.parametrize(
    "target",
    ["charge", partial(plain, 1), Callable_(), Callable_, len, staticmethod(plain)],
    ids=["name", "partial", "object", "class", "builtin", "staticmethod"],
)
def test_what_is_not_a_function_is_refused(target: Any) -> None:
    with pytest.raises(DefinitionError, match=r'not a function.*@activity\(name="\.\.\."\)'):
        activity(target)


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator])
def test_a_generator_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(DefinitionError, match="is a generator; return a value"):
        activity(function)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": ""}, "is empty"),
        ({"name": "x" * 256}, "is longer than 255 characters"),
        ({"name": "a\nb"}, "unprintable characters"),
        ({"name": "a\ud800"}, "unprintable characters"),
        ({"name": 5}, "is not a string"),
        ({"retry": RetryPolicy(), "retry_count": 1}, "either retry or retry_count, not both"),
        ({"retry_count": -1}, "retry_count must not be negative"),
        ({"timeout_seconds": 0}, "timeout_seconds must be greater than 0"),
        ({"timeout_seconds": -1}, "timeout_seconds must be greater than 0"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds must be greater than 0"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds must be greater than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        activity(**options)(lambda: None)


def test_a_function_without_the_decorator_says_what_is_missing() -> None:
    assert is_activity(plain)
    assert not is_activity(generator)
    with pytest.raises(DefinitionError, match=r"decorate it with @loom\.activity"):
        activity_definition(generator)


def test_an_annotation_that_does_not_exist_at_run_time_is_named() -> None:
    @activity
    def unresolved(amount: UnknownAtRunTime) -> None:
        pass

    with pytest.raises(DefinitionError, match="'UnknownAtRunTime' is not defined"):
        _ = activity_definition(unresolved).arguments_type


def test_which_attempt_is_running_is_known_inside_alone() -> None:
    with pytest.raises(LoomError, match="outside of an activity"):
        activity_info()
    token = CURRENT_ACTIVITY.set(ActivityInfo("charge", "order-1", "abc", 7, 2))
    try:
        assert activity_info().activity_key == "abc/7"
    finally:
        CURRENT_ACTIVITY.reset(token)
