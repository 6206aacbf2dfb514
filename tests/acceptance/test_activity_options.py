"""What a single call of an activity may be given, and what its errors may say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

import loom
from tests.conditions import eventually

type Context = loom.WorkflowContext[Any, Any]

ATTEMPTS: list[int] = []


@pytest.fixture(autouse=True)
def attempts() -> None:
    ATTEMPTS.clear()


async def call(
    app: loom.Loom,
    activity: Callable[..., Any],
    asked: Callable[..., Any] | None = None,
    queue: str = "default",
) -> Any:
    """Run an activity, asked for as ``asked``, in a worker of that queue."""

    caught: list[loom.ActivityFailedError] = []

    @loom.workflow
    class Calling(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> Any:
            try:
                return await ctx.activity(asked or activity)
            except loom.ActivityFailedError as error:
                caught.append(error)

    async with (
        app.worker(workflows=[Calling]),
        app.worker(activities=[activity], queue=queue),
    ):
        result = await (await app.start(Calling)).result(30)
    return caught[-1] if caught else result


@loom.activity
async def flaky() -> int:
    ATTEMPTS.append(loom.activity_info().attempt)
    if len(ATTEMPTS) < 3:
        raise ValueError("again")
    return len(ATTEMPTS)


async def test_a_call_is_retried_as_its_options_say(app: loom.Loom) -> None:
    policy = loom.RetryPolicy(maximum_attempts=5, initial_interval=timedelta(milliseconds=1))
    assert await call(app, flaky, loom.with_options(flaky, retry=policy)) == 3


async def test_a_call_is_not_retried_when_its_policy_names_the_error(app: loom.Loom) -> None:
    policy = loom.RetryPolicy(maximum_attempts=5, non_retryable=(ValueError,))
    error = await call(app, flaky, loom.with_options(flaky, retry=policy))
    assert (error.attempts, error.cause_type) == (1, "ValueError")


async def test_a_call_goes_to_the_queue_that_it_names(app: loom.Loom) -> None:
    @loom.activity
    async def here() -> str:
        return "here"

    assert await call(app, here, loom.with_options(here, queue="there"), queue="there") == "here"


async def test_an_attempt_is_held_to_the_time_of_its_call(app: loom.Loom) -> None:
    @loom.activity(start_to_close_timeout=3600)
    async def endless() -> None:
        await asyncio.Event().wait()

    asked = loom.with_options(endless, start_to_close_timeout=timedelta(milliseconds=20))
    error = await call(app, endless, asked)
    assert isinstance(error, loom.ActivityTimeoutError)
    assert error.timeout is loom.TimeoutType.START_TO_CLOSE
    assert error.cause_message == "it took longer than 0.02 s"


# --- errors that know what shall follow ----------------------------------------------------------


@dataclass
class Refusal:
    code: int
    why: str


async def test_an_error_brings_details_that_the_workflow_reads(app: loom.Loom) -> None:
    @loom.activity
    async def refuse() -> None:
        raise loom.ActivityError("refused", details=Refusal(402, "no money"))

    error = await call(app, refuse)
    assert error.details == {"code": 402, "why": "no money"}
    assert error.details_as(Refusal) == Refusal(402, "no money")
    with pytest.raises(loom.PayloadError):
        error.details_as(int)


async def test_an_error_without_details_has_none(app: loom.Loom) -> None:
    @loom.activity
    async def refuse() -> None:
        raise loom.ActivityError("refused")

    error = await call(app, refuse)
    assert error.details is None
    with pytest.raises(loom.PayloadError, match="'refuse' has no details"):
        error.details_as(Refusal)


async def test_details_that_cannot_be_stored_fail_the_activity_and_say_so(app: loom.Loom) -> None:
    @loom.activity(retry_count=5)
    async def refuse() -> None:
        ATTEMPTS.append(1)
        raise loom.ActivityError("refused", details=object())

    error = await call(app, refuse)
    assert error.cause_type == "loom.errors.PayloadError"
    assert "refused" in error.cause_traceback
    assert len(ATTEMPTS) == 1


async def test_an_error_may_forbid_its_retry(app: loom.Loom) -> None:
    @loom.activity(retry_count=5)
    async def refuse() -> None:
        ATTEMPTS.append(1)
        raise loom.ActivityError("never", non_retryable=True)

    assert (await call(app, refuse)).attempts == 1
    assert len(ATTEMPTS) == 1


async def test_an_error_says_when_it_is_tried_again(app: loom.Loom) -> None:
    """The policy would wait an hour."""
    hour = loom.RetryPolicy(
        maximum_attempts=3,
        initial_interval=timedelta(hours=1),
        maximum_interval=timedelta(hours=1),
    )

    @loom.activity(retry=hour)
    async def limited() -> str:
        ATTEMPTS.append(loom.activity_info().attempt)
        if len(ATTEMPTS) < 3:
            raise loom.ActivityError("slow down", retry_after=timedelta(milliseconds=1))
        return "done"

    assert await call(app, limited) == "done"
    assert ATTEMPTS == [1, 2, 3]


async def test_an_error_puts_its_retry_off(app: loom.Loom) -> None:
    @loom.activity(retry_count=1)
    async def limited() -> None:
        raise loom.ActivityError("come back tomorrow", retry_after=timedelta(days=1))

    @loom.workflow
    class Patient(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> None:
            await ctx.activity(limited)

    async with app.worker(workflows=[Patient], activities=[limited]):
        handle = await app.start(Patient)

        async def is_put_off() -> bool:
            [pending] = (await handle.info()).activities
            return pending.failures == 1

        await eventually(is_put_off)
        info = await handle.info()
    assert info.activities[0].available_at - info.created_at > timedelta(hours=23)
