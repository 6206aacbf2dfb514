"""When a failed attempt is tried again, and how long after."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from loom.errors import ConfigurationError
from loom.retry import RetryPolicy


class Declined(Exception):
    pass


class DeclinedForever(Declined):
    pass


def delays(policy: RetryPolicy, attempts: int, fraction: float = 0) -> list[float]:
    return [policy.delay(n, fraction).total_seconds() for n in range(1, attempts + 1)]


def test_by_default_an_error_is_never_retried() -> None:
    assert not RetryPolicy().allows(ValueError(), 1)


@pytest.mark.parametrize(("failures", "again"), [(1, True), (2, True), (3, False), (4, False)])
def test_attempts_are_limited_in_all(failures: int, again: bool) -> None:
    assert RetryPolicy(maximum_attempts=3).allows(ValueError(), failures) is again


def test_without_a_limit_there_is_always_another_attempt() -> None:
    assert RetryPolicy(maximum_attempts=None).allows(ValueError(), 10**9)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Declined, Declined()),
        (Declined, DeclinedForever()),
        ("Declined", DeclinedForever()),
        (f"{__name__}.Declined", Declined()),
        ("builtins.ValueError", ValueError()),
        ("ArithmeticError", ZeroDivisionError()),
    ],
)
def test_a_non_retryable_kind_fails_at_once_with_its_subclasses(
    kind: Any, error: BaseException
) -> None:
    policy = RetryPolicy(maximum_attempts=None, non_retryable=(kind,))
    assert not policy.allows(error, 1)
    assert policy.allows(KeyError(), 1)


def test_a_name_is_not_matched_in_part() -> None:
    policy = RetryPolicy(maximum_attempts=None, non_retryable=("Decline", "orders.Declined"))
    assert policy.allows(Declined(), 1)


def test_the_predicate_on_the_error_decides_last() -> None:
    policy = RetryPolicy(
        maximum_attempts=3,
        non_retryable=(KeyError,),
        retry_error=lambda error: "again" in str(error),
    )
    assert policy.allows(ValueError("try again"), 1)
    assert not policy.allows(ValueError("stop"), 1)
    assert not policy.allows(KeyError("again"), 1)
    assert not policy.allows(ValueError("again"), 3)


def test_a_refused_result_asks_no_predicate_on_errors() -> None:
    policy = RetryPolicy(maximum_attempts=2, retry_error=lambda error: False)
    assert policy.allows(None, 1)
    assert not policy.allows(None, 2)


def test_waits_grow_by_the_backoff_up_to_the_maximum() -> None:
    policy = RetryPolicy(backoff=3, maximum_interval=timedelta(seconds=20))
    assert delays(policy, 5) == [1, 3, 9, 20, 20]


def test_a_backoff_of_one_waits_the_same_each_time() -> None:
    assert delays(RetryPolicy(backoff=1), 4) == [1, 1, 1, 1]


def test_jitter_only_shortens_a_wait() -> None:
    policy = RetryPolicy(jitter=0.5, initial_interval=timedelta(seconds=8))
    assert delays(policy, 1, fraction=0) == [8]
    assert delays(policy, 1, fraction=1) == [4]
    assert delays(RetryPolicy(jitter=0), 1, fraction=1) == [1]


def test_the_millionth_wait_does_not_overflow() -> None:
    assert delays(RetryPolicy(backoff=1e300), 5)[-1] == 100
    assert RetryPolicy(backoff=2).delay(10**9, 0) == timedelta(seconds=100)
    assert RetryPolicy(backoff=10).delay(10**6, 0.5) <= timedelta(seconds=100)


def test_waits_may_be_nothing_at_all() -> None:
    policy = RetryPolicy(initial_interval=timedelta(0), backoff=1e300)
    assert delays(policy, 5) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"maximum_attempts": 0}, "maximum_attempts must be at least 1"),
        ({"maximum_attempts": float("inf")}, "a whole number, or None for no limit"),
        ({"maximum_attempts": 3.0}, "a whole number, or None for no limit"),
        ({"maximum_attempts": 10**30}, "a whole number, or None for no limit"),
        ({"backoff": 10**30}, "backoff must be a float when it is as large"),
        ({"initial_interval": timedelta(seconds=-1)}, "initial_interval must not be negative"),
        ({"backoff": 0.5}, "backoff must be at least 1"),
        ({"backoff": float("nan")}, "backoff must be at least 1"),
        ({"backoff": float("inf")}, "backoff must be at least 1"),
        ({"maximum_interval": timedelta(0)}, "must not be below initial_interval"),
        ({"jitter": 1.1}, "jitter must be between 0 and 1"),
        ({"jitter": float("nan")}, "jitter must be between 0 and 1"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        RetryPolicy(**options)
