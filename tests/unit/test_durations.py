"""Durations: the same are taken everywhere, and what is none is refused with the same words."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

import loom
from loom.authoring.starting import StartOptions
from loom.client import Client
from loom.durations import micros, positive_micros, whole_micros
from loom.handle import UpdateHandle, WorkflowHandle
from loom.identifiers import END_OF_TIME
from tests.engine_harness import Play
from tests.unit.workflows import Ctx, clean, workflow_of

NO_DURATIONS = ["3", True, math.nan, None, [1], 1j]
NO_OPTIONS = [given for given in NO_DURATIONS if given is not None]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (2, 2_000_000),
        (0.0000015, 2),
        (timedelta(milliseconds=5), 5_000),
        (-1, -1_000_000),
        (10**400, END_OF_TIME),
        (1e300, END_OF_TIME),
        (math.inf, END_OF_TIME),
        (-math.inf, -END_OF_TIME),
        (timedelta.max, END_OF_TIME),
    ],
)
def test_numbers_are_seconds_and_nothing_lasts_longer_than_time(given: Any, expected: int) -> None:
    assert micros("it", given) == expected


@pytest.mark.parametrize("given", NO_DURATIONS)
@pytest.mark.parametrize("read", [micros, positive_micros, whole_micros])
def test_what_is_no_duration_is_refused(given: Any, read: Callable[[str, Any], int]) -> None:
    with pytest.raises(loom.DurationError, match="it must be a timedelta or a number of seconds"):
        read("it", given)


@pytest.mark.parametrize("given", [0, -1, timedelta(0), 1e-9])
def test_some_must_be_greater_than_nothing(given: Any) -> None:
    with pytest.raises(loom.DurationError, match="it must be greater than 0"):
        positive_micros("it", given)


def test_some_must_not_be_negative() -> None:
    assert whole_micros("it", 0) == 0
    with pytest.raises(loom.DurationError, match="it must not be negative"):
        whole_micros("it", timedelta(microseconds=-1))


def test_the_error_is_one_of_configuration_and_of_value() -> None:
    assert issubclass(loom.DurationError, loom.ConfigurationError | ValueError)


OPTIONS: dict[str, Callable[[Any], Any]] = {
    "start_to_close_timeout": lambda v: loom.activity(start_to_close_timeout=v)(lambda: None),
    "schedule_to_close_timeout": lambda v: loom.with_options(clean, schedule_to_close_timeout=v),
    "timeout_seconds": lambda v: loom.with_options(clean, timeout_seconds=v),
    "delay": lambda v: StartOptions(delay=v),
    "run_timeout": lambda v: StartOptions(run_timeout=v),
    "execution_timeout": lambda v: StartOptions(execution_timeout=v),
    "retry_after": lambda v: loom.ActivityError(retry_after=v),
    "initial_interval": lambda v: loom.RetryPolicy(initial_interval=v),
    "maximum_interval": lambda v: loom.RetryPolicy(maximum_interval=v),
}


@pytest.mark.parametrize("given", NO_OPTIONS, ids=repr)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_refuses_what_is_no_duration(option: str, given: Any) -> None:
    with pytest.raises(loom.DurationError, match=f"{option} must be a timedelta or a number of"):
        OPTIONS[option](given)


@pytest.mark.parametrize("given", [100, 100.5, timedelta(minutes=5), 1e300, math.inf], ids=repr)
@pytest.mark.parametrize("option", [name for name in OPTIONS if name != "initial_interval"])
def test_every_option_takes_numbers_for_seconds(option: str, given: Any) -> None:
    OPTIONS[option](given)


@pytest.mark.parametrize("given", [-1, timedelta(days=-1)], ids=repr)
@pytest.mark.parametrize("option", OPTIONS)
def test_no_option_may_be_negative(option: str, given: Any) -> None:
    with pytest.raises(loom.DurationError, match=f"{option} must (not be negative|be greater)"):
        OPTIONS[option](given)


def test_the_intervals_of_a_policy_are_kept_as_what_they_mean() -> None:
    policy = loom.RetryPolicy(initial_interval=1, maximum_interval=2.5)
    assert policy == loom.RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=2.5)
    )
    assert policy.initial_interval == timedelta(seconds=1)


WAITS: dict[str, Callable[[Ctx, Any], Awaitable[Any]]] = {
    "ctx.sleep()": lambda ctx, v: ctx.sleep(v),
    "ctx.wait_for_signal()": lambda ctx, v: ctx.wait_for_signal("go", timeout=v),
    "ctx.wait_until()": lambda ctx, v: ctx.wait_until(lambda: False, timeout=v),
    "loom.wait(timeout=)": lambda ctx, v: loom.wait([], timeout=v),
}


@pytest.mark.parametrize("given", NO_OPTIONS, ids=repr)
@pytest.mark.parametrize("wait", WAITS)
def test_every_wait_of_a_workflow_names_itself_when_it_refuses(
    play: Play, wait: str, given: Any
) -> None:
    async def code(ctx: Ctx) -> None:
        await WAITS[wait](ctx, given)

    run = play(workflow_of(code))
    assert run.failure.type == "loom.errors.DurationError"
    expected = f"{wait} must be a timedelta or a number of seconds, not {given!r}"
    assert expected in run.failure.message
    run.check_replay()


@pytest.mark.parametrize("wait", [name for name in WAITS if "loom" not in name])
def test_less_than_no_time_is_over_at_once(play: Play, wait: str) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            await WAITS[wait](ctx, timedelta(seconds=-5))
        except TimeoutError:
            return "over"
        return "over"

    # A timeout that has passed is a timer that is due.
    run = play(workflow_of(code))
    run.advance(0)
    assert run.result == "over"
    run.check_replay()


@pytest.mark.parametrize("handle", [WorkflowHandle, UpdateHandle])
async def test_results_refuse_a_timeout_that_is_none(handle: Any) -> None:
    access = Client.__new__(Client)  # never asked
    waiting = handle(access, "id", "run", "update")
    with pytest.raises(loom.DurationError, match=r"timeout of result\(\) must be a timedelta"):
        await waiting.result("5")


async def test_completions_refuse_a_timeout_before_anything_is_started() -> None:
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)

    coroutine = work()
    with pytest.raises(loom.DurationError, match=r"loom.as_completed\(timeout=\)"):
        loom.as_completed([coroutine], timeout="5")  # type: ignore[arg-type]
    coroutine.close()
    await asyncio.sleep(0)
    assert begun == []


# --- what was waited for, and how long ---


def test_a_signal_that_does_not_come_is_named(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.wait_for_signal("approve", timeout=timedelta(minutes=2))

    run = play(workflow_of(code))
    run.advance(120)
    assert run.failure.type == "TimeoutError"
    assert run.failure.message == (
        "Workflow 'the-workflow': no signal 'approve' came within 120 s."
    )
    run.check_replay()


def test_a_condition_that_does_not_come_to_hold_is_named(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        def is_ready() -> bool:
            return False

        await ctx.wait_until(is_ready, timeout=1.5)

    run = play(workflow_of(code))
    run.advance(1.5)
    assert "'the-workflow': the condition " in run.failure.message
    assert "is_ready (line " in run.failure.message
    assert "did not hold within 1.5 s" in run.failure.message
    run.check_replay()


def test_a_conditions_own_timeout_error_is_its_own(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        calls: list[int] = []

        def condition() -> bool:
            calls.append(1)
            if len(calls) > 1:
                raise TimeoutError("of the condition")
            return False

        await ctx.wait_until(condition, timeout=60)

    run = play(workflow_of(code))
    assert run.failure.message == "of the condition"


@pytest.mark.parametrize("condition", [True, False, None, "ready"])
def test_a_condition_that_is_no_function_is_refused(play: Play, condition: Any) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.wait_until(condition)

    failure = play(workflow_of(code)).failure
    assert failure.type == "TypeError"
    assert "ctx.wait_until() takes a function" in failure.message
    assert repr(condition) in failure.message


def test_a_signal_goes_by_text(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.wait_for_signal(5)  # type: ignore[call-overload]

    failure = play(workflow_of(code)).failure
    assert failure.type == "loom.errors.PayloadError"
    assert "signal name 5 is not a string" in failure.message
