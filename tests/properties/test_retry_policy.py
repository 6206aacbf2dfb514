"""Whatever the policy, waits are bounded and attempts end when they should."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from loom.retry import RetryPolicy

INTERVALS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=365))
FRACTIONS = st.floats(0, 1)
FAILURES = st.integers(1, 10**9)


@st.composite
def policies(draw: st.DrawFn) -> RetryPolicy:
    initial, longest = sorted([draw(INTERVALS), draw(INTERVALS)])
    return RetryPolicy(
        maximum_attempts=draw(st.none() | st.integers(1, 100)),
        initial_interval=initial,
        maximum_interval=longest,
        backoff=draw(st.floats(1, allow_infinity=False)),
        jitter=draw(FRACTIONS),
    )


@given(policies(), FAILURES, FRACTIONS)
def test_a_wait_is_never_negative_nor_longer_than_the_maximum(
    policy: RetryPolicy, failures: int, fraction: float
) -> None:
    assert timedelta(0) <= policy.delay(failures, fraction) <= policy.maximum_interval


@given(policies(), st.integers(1, 200))
def test_waits_never_shrink(policy: RetryPolicy, failures: int) -> None:
    assert policy.delay(failures, 0) <= policy.delay(failures + 1, 0)


@given(policies(), FAILURES, FRACTIONS)
def test_jitter_takes_away_its_part_and_no_more(
    policy: RetryPolicy, failures: int, fraction: float
) -> None:
    whole = policy.delay(failures, 0)
    jittered = policy.delay(failures, fraction)
    rounding = timedelta(microseconds=1)
    assert whole * (1 - policy.jitter) - rounding <= jittered <= whole


@given(policies())
def test_the_first_wait_is_the_initial_one(policy: RetryPolicy) -> None:
    assert policy.delay(1, 0) == policy.initial_interval


@given(policies(), FAILURES)
def test_the_number_of_attempts_decides_alone_when_nothing_else_is_given(
    policy: RetryPolicy, failures: int
) -> None:
    limit = policy.maximum_attempts
    assert policy.allows(ValueError(), failures) is (limit is None or failures < limit)
