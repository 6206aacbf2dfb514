"""``@activity``: the function stays what it was, and what cannot work is refused at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from loom.authoring.activity import (
    activity,
    activity_definition,
    is_activity,
    with_options,
)
from loom.authoring.activity_info import CURRENT_ACTIVITY, ActivityInfo, activity_info
from loom.authoring.activity_options import ActivityOptions, with_recorded
from loom.authoring.registry import Registry
from loom.errors import ActivityError, ConfigurationError, DefinitionError, LoomError, PayloadError
from loom.history.events import ActivityScheduled
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
    assert (definition.name, definition.is_async) == ("plain", False)
    assert definition.options == ActivityOptions()
    assert definition.options.policy == RetryPolicy()
    assert definition.result_type == list[int]


def test_options_are_taken() -> None:
    definition = activity_definition(charge)
    assert (definition.name, definition.is_async) == ("charge", True)
    assert definition.options.policy.maximum_attempts == 4
    assert definition.options.start_to_close_timeout == timedelta(seconds=1.5)


def test_a_whole_policy_is_taken() -> None:
    policy = RetryPolicy(maximum_attempts=None)
    assert activity_definition(activity(retry=policy)(lambda: None)).options.retry is policy


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
        ({"retry": 3}, "retry must be a RetryPolicy, not 3"),
        ({"queue": ""}, "queue name '' is empty"),
        ({"start_to_close_timeout": timedelta(0)}, "start_to_close_timeout must be greater than 0"),
        ({"schedule_to_start_timeout": "5"}, "must be a timedelta or a number of seconds"),
        ({"schedule_to_close_timeout": True}, "must be a timedelta or a number of seconds"),
        ({"heartbeat_timeout": timedelta(days=-1)}, "heartbeat_timeout must be greater than 0"),
        ({"start_to_close_timeout": 1, "timeout_seconds": 1}, "either start_to_close_timeout or"),
        ({"timeout_seconds": 0}, "timeout_seconds must be greater than 0"),
        ({"timeout_seconds": -1}, "timeout_seconds must be greater than 0"),
        ({"timeout_seconds": float("nan")}, "must be a timedelta or a number of seconds, not nan"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
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


# --- options for single calls --------------------------------------------------------------------


def asked(function: Callable[..., Any]) -> ActivityScheduled:
    return activity_definition(function).scheduled(1, "default", b"")


def test_without_options_nothing_is_recorded_of_them() -> None:
    assert asked(charge) == ActivityScheduled(1, "charge", "default", b"")


def test_what_holds_without_a_worker_is_recorded_of_the_activity_itself() -> None:
    @activity(queue="gpu", schedule_to_start_timeout=1, schedule_to_close_timeout=2.5)
    async def draw() -> None: ...

    assert asked(draw) == ActivityScheduled(
        1, "draw", "gpu", b"", schedule_to_start=1_000_000, schedule_to_close=2_500_000
    )


def test_the_options_of_a_call_are_recorded_and_those_of_the_activity_are_not() -> None:
    call = with_options(charge, queue="slow", heartbeat_timeout=timedelta(seconds=3))
    assert asked(call) == ActivityScheduled(1, "charge", "slow", b"", heartbeat=3_000_000)


def test_a_call_is_tried_as_its_options_say_and_else_as_the_activity_says() -> None:
    own = activity_definition(charge).options
    recorded = asked(with_options(charge, start_to_close_timeout=9, retry_count=1))
    options = with_recorded(own, recorded)
    assert options.start_to_close_timeout == timedelta(seconds=9)
    assert options.policy.maximum_attempts == 2
    assert with_recorded(own, asked(charge)) is own


def test_options_given_later_win() -> None:
    once = with_options(charge, retry_count=1, heartbeat_timeout=1)
    twice = asked(with_options(once, heartbeat_timeout=2))
    assert twice.heartbeat == 2_000_000
    assert twice.retry is not None
    assert twice.retry.maximum_attempts == 2


def test_the_functions_of_the_activitys_own_policy_judge_in_every_call() -> None:
    own = RetryPolicy(retry_error=lambda error: "again" in str(error))
    terms = RetryPolicy(maximum_attempts=None, non_retryable=(KeyError,)).terms
    policy = own.with_terms(terms)
    assert policy.allows(ValueError("again"), 99)
    assert not policy.allows(ValueError("no"), 1)
    assert not policy.allows(KeyError("again"), 1)


def test_the_functions_of_a_calls_policy_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"cannot travel.*@activity\(retry=\.\.\.\)"):
        with_options(charge, retry=RetryPolicy(retry_result=bool))


def test_a_call_with_options_stays_a_function_with_its_types() -> None:
    call = with_options(plain, retry_count=1)
    assert call(1, "ab", 0.5, c=True, d=4) == [1, 2, 1, True, 4]
    base, special = activity_definition(plain), activity_definition(call)
    assert special.arguments_type is base.arguments_type
    assert special.bind((1,), {}) == {"a": 1}


def test_a_worker_is_given_activities_and_not_calls_of_them() -> None:
    with pytest.raises(DefinitionError, match="give the worker the activity itself"):
        Registry(activities=[with_options(charge, retry_count=1)])


@pytest.mark.parametrize(
    "options", [{"retry_after": 1, "non_retryable": True}, {"retry_after": -1}]
)
def test_an_activity_error_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="retry_after must not be"):
        ActivityError("no", **options)
