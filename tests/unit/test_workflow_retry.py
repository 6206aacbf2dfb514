"""Whether a run whose code failed is tried again, and when."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from loom.history.events import WorkflowFailed
from loom.history.limits import RunLimits
from loom.retry import RetryPolicy
from tests.engine_harness import EPOCH, Play
from tests.unit.workflows import Ctx, workflow_of

SECOND = 1_000_000
POLICY = RetryPolicy(
    maximum_attempts=3,
    initial_interval=timedelta(seconds=4),
    jitter=0,
    non_retryable=(LookupError,),
)


async def failing(ctx: Ctx) -> Any:
    if ctx.input == "lookup":
        raise KeyError("a LookupError")
    if ctx.input == "cancel":
        await ctx.sleep(3600)
    if ctx.input == "itself":
        raise asyncio.CancelledError
    raise ValueError("no")


def failed(event: object) -> WorkflowFailed:
    assert isinstance(event, WorkflowFailed)
    return event


@pytest.mark.parametrize(("attempt", "wait"), [(1, 4), (2, 8)])
def test_a_failed_run_is_tried_again_after_a_growing_wait(
    play: Play, attempt: int, wait: int
) -> None:
    run = play(workflow_of(failing), retry=POLICY.terms, attempt=attempt)
    last = failed(run.events[-1])
    assert last.next_run_id is not None
    assert last.retry_at == EPOCH + wait * SECOND


def test_the_last_attempt_is_the_last(play: Play) -> None:
    run = play(workflow_of(failing), retry=POLICY.terms, attempt=3)
    assert failed(run.events[-1]).next_run_id is None


def test_without_a_policy_there_is_one_attempt(play: Play) -> None:
    assert failed(play(workflow_of(failing)).events[-1]).next_run_id is None


def test_what_derives_from_an_error_that_is_not_to_be_retried_is_not(play: Play) -> None:
    run = play(workflow_of(failing), "lookup", retry=POLICY.terms)
    assert failed(run.events[-1]).next_run_id is None


def test_code_that_cancels_itself_has_failed(play: Play) -> None:
    run = play(workflow_of(failing), "itself", retry=POLICY.terms)
    assert failed(run.events[-1]).next_run_id is not None


def test_whoever_is_cancelled_is_not_tried_again(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        try:
            await ctx.sleep(3600)
        finally:
            raise ValueError("while it cleans up")

    run = play(workflow_of(code), retry=POLICY.terms)
    run.cancel()
    assert failed(run.events[-1]).next_run_id is None


def test_no_try_begins_after_the_time_of_the_chain(play: Play) -> None:
    limits = RunLimits(EPOCH + 4 * SECOND, None, EPOCH + 4 * SECOND)
    run = play(workflow_of(failing), retry=POLICY.terms, limits=limits)
    assert failed(run.events[-1]).next_run_id is None


def test_the_wait_is_the_same_on_replay_and_takes_nothing_from_the_codes_random(
    play: Play,
) -> None:
    async def code(ctx: Ctx) -> None:
        raise ValueError(str(ctx.random.random()))

    terms = RetryPolicy(maximum_attempts=3).terms
    with_retry = failed(play(workflow_of(code), retry=terms).events[-1])
    without = failed(play(workflow_of(code)).events[-1])
    assert with_retry.failure.message == without.failure.message
