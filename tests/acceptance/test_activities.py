"""Activities: where they run, how often, how long, and what the workflow hears of it."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

import loom
from loom import RetryPolicy, Settings
from tests.conditions import cut_off, eventually

type Context = loom.WorkflowContext[Any, Any]

QUICK = timedelta(milliseconds=1)


class Calls:
    """What the activities of one test have been called with."""

    def __init__(self) -> None:
        self.attempts: list[int] = []


CALLS = Calls()


@pytest.fixture(autouse=True)
def calls() -> Calls:
    CALLS.attempts = []
    return CALLS


AGAIN = ValueError("again")


def flaky(retry: RetryPolicy, error: BaseException = AGAIN, good: int = 3) -> Any:
    """An activity that raises until its ``good``-th attempt."""

    @loom.activity(name="flaky", retry=retry)
    async def activity() -> int:
        CALLS.attempts.append(loom.activity_info().attempt)
        if len(CALLS.attempts) < good:
            raise error
        return len(CALLS.attempts)

    return activity


@loom.workflow
class Calling(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.activity(flaky(RetryPolicy()))


async def call(app: loom.Loom, activity: Any) -> Any:
    """Run one activity in a workflow."""
    async with app.worker(workflows=[Calling], activities=[activity]):
        return await (await app.start(Calling)).result(30)


async def test_a_plain_function_runs_in_a_thread_and_an_async_one_on_the_loop(
    app: loom.Loom,
) -> None:
    @loom.activity
    def in_thread() -> str:
        return f"{threading.current_thread().name} {loom.activity_info().activity}"

    @loom.activity
    async def on_loop() -> str:
        return f"{threading.current_thread().name} {loom.activity_info().activity}"

    @loom.workflow
    class Both(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> list[str]:
            return [await ctx.activity(in_thread), await ctx.activity(on_loop)]

    async with app.worker(workflows=[Both], activities=[in_thread, on_loop]):
        plain, asynchronous = await (await app.start(Both)).result(30)
    assert plain.startswith("loom-activity")
    assert plain.endswith(" in_thread")
    assert asynchronous == "MainThread on_loop"


async def test_a_failing_activity_is_tried_as_often_as_its_policy_says(app: loom.Loom) -> None:
    policy = RetryPolicy(maximum_attempts=3, initial_interval=QUICK)
    assert await call(app, flaky(policy)) == 3
    assert CALLS.attempts == [1, 2, 3]


async def test_after_the_last_attempt_the_workflow_gets_the_error(app: loom.Loom) -> None:
    policy = RetryPolicy(maximum_attempts=2, initial_interval=QUICK)
    with pytest.raises(loom.WorkflowFailedError, match=r"2 times.*again"):
        await call(app, flaky(policy))
    assert CALLS.attempts == [1, 2]


async def test_by_default_an_error_is_not_retried(memory_dsn: str) -> None:
    async with loom.Loom(memory_dsn) as app:
        with pytest.raises(loom.WorkflowFailedError, match="again"):
            await call(app, flaky(RetryPolicy()))
    assert CALLS.attempts == [1]


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(maximum_attempts=None, non_retryable=(ValueError,)),
        RetryPolicy(maximum_attempts=None, non_retryable=("ValueError",)),
        RetryPolicy(maximum_attempts=None, retry_error=lambda error: "again" not in str(error)),
        RetryPolicy(maximum_attempts=None, retry_error=lambda error: 1 / 0 > 0),
    ],
)
async def test_an_error_that_shall_not_be_retried_is_not(
    memory_dsn: str, policy: RetryPolicy
) -> None:
    async with loom.Loom(memory_dsn) as app:
        with pytest.raises(loom.WorkflowFailedError):
            await call(app, flaky(policy))
    assert CALLS.attempts == [1]


async def test_an_unwanted_result_is_retried(memory_dsn: str) -> None:
    policy = RetryPolicy(
        maximum_attempts=5, initial_interval=QUICK, retry_result=lambda result: result < 3
    )
    async with loom.Loom(memory_dsn) as app:
        assert await call(app, flaky(policy, good=1)) == 3
    assert CALLS.attempts == [1, 2, 3]


@pytest.mark.parametrize(
    "error", [SystemExit(1), asyncio.CancelledError(), GeneratorExit(), BaseException("odd")]
)
async def test_whatever_an_activity_raises_fails_it_and_nothing_else(
    memory_dsn: str, error: BaseException
) -> None:
    async with loom.Loom(memory_dsn) as app:
        with pytest.raises(loom.WorkflowFailedError):
            await call(app, flaky(RetryPolicy(), error))


@pytest.mark.parametrize("error", [SystemExit(1), StopIteration(), BaseException("odd")])
async def test_whatever_a_thread_raises_fails_its_activity_and_nothing_else(
    memory_dsn: str, error: BaseException
) -> None:
    @loom.activity(name="flaky")
    def activity() -> None:
        raise error

    async with loom.Loom(memory_dsn) as app:
        with pytest.raises(loom.WorkflowFailedError):
            await call(app, activity)


async def test_a_retry_that_is_due_later_outlives_the_worker(app: loom.Loom) -> None:
    policy = RetryPolicy(
        maximum_attempts=3, initial_interval=timedelta(milliseconds=300), jitter=0, backoff=1
    )
    handle = await app.start(Calling)
    async with app.worker(workflows=[Calling], activities=[flaky(policy)]):
        await eventually(lambda: _has_failed(handle))
    [pending] = (await handle.info()).activities
    assert (pending.failures, pending.last_failure) == (1, "ValueError: again")
    async with app.worker(workflows=[Calling], activities=[flaky(policy)]):
        assert await handle.result(30) == 3
    assert CALLS.attempts == [1, 2, 3]


async def _has_failed(handle: loom.WorkflowHandle[Any]) -> bool:
    return any(activity.failures for activity in (await handle.info()).activities)


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_an_attempt_that_takes_too_long_times_out(app: loom.Loom, kind: str) -> None:
    released = threading.Event()

    @loom.activity(name="slow", timeout_seconds=0.05)
    async def slow_async() -> None:
        await asyncio.Event().wait()

    @loom.activity(name="slow", timeout_seconds=0.05)
    def slow_thread() -> None:
        released.wait(20)

    slow: Any = slow_async if kind == "async" else slow_thread

    @loom.workflow
    class Patient(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> str:
            try:
                await ctx.activity(slow)
            except loom.ActivityTimeoutError as error:
                return f"{error.activity} {error.attempts}"
            return "in time"

    try:
        async with app.worker(workflows=[Patient], activities=[slow]):
            assert await (await app.start(Patient)).result(30) == "slow 1"
    finally:
        released.set()


async def test_its_own_timeout_error_is_not_taken_for_the_attempts(memory_dsn: str) -> None:
    @loom.activity(name="flaky", timeout_seconds=30)
    async def activity() -> None:
        raise TimeoutError("elsewhere")

    async with loom.Loom(memory_dsn) as app:
        with pytest.raises(loom.WorkflowFailedError) as caught:
            await call(app, activity)
    assert caught.value.cause_type == "loom.errors.ActivityFailedError"


async def test_a_result_that_does_not_fit_its_declared_type_fails_the_activity(
    memory_dsn: str,
) -> None:
    @loom.activity(name="flaky")
    async def activity() -> int:
        return "seven"  # type: ignore[return-value]

    async with loom.Loom(memory_dsn) as app:
        with pytest.raises(loom.WorkflowFailedError, match="PayloadError"):
            await call(app, activity)


async def test_an_activity_whose_workers_die_over_it_counts_as_lost(any_dsn: str) -> None:
    """A worker that is there and gone again without a word: it claims, and is cut off."""

    @loom.workflow
    class Doomed(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> str:
            try:
                await ctx.activity(deadly)
            except loom.ActivityLostError as error:
                return str(error)
            return "survived"

    @loom.activity
    async def deadly() -> None:
        CALLS.attempts.append(loom.activity_info().attempt)
        await asyncio.Event().wait()

    settings = Settings(lease_seconds=0.5, max_lost_attempts=1, shutdown_grace_seconds=0)
    async with loom.Loom(any_dsn, settings=settings) as app:
        handle = await app.start(Doomed)
        async with app.worker(workflows=[Doomed]):
            for number in (1, 2):
                worker = app.worker(activities=[deadly])
                async with worker:
                    await eventually(lambda n=number: len(CALLS.attempts) == n)
                    cut_off(worker)
            async with app.worker(activities=[deadly]):
                assert "2 workers died" in await handle.result(30)
    assert CALLS.attempts == [1, 2]


async def test_more_activities_than_slots_all_run(app: loom.Loom) -> None:
    running, most = 0, 0

    @loom.activity
    async def counted(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number

    @loom.workflow
    class Many(loom.Workflow[int, Any]):
        async def run(self, ctx: Context) -> int:
            return sum(await asyncio.gather(*(ctx.activity(counted, n) for n in range(ctx.input))))

    async with app.worker(workflows=[Many], activities=[counted], concurrency=3):
        assert await (await app.start(Many, 30)).result(30) == sum(range(30))
    assert most <= 3


async def test_an_activity_that_cancels_its_own_task_counts_as_lost(any_dsn: str) -> None:
    @loom.activity
    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    @loom.workflow
    class Calling(loom.Workflow[Any, Any]):
        async def run(self, ctx: loom.WorkflowContext[Any, Any]) -> None:
            await ctx.activity(cancel_itself)

    settings = Settings(lease_seconds=0.5, max_lost_attempts=1)
    async with (
        loom.Loom(any_dsn, settings=settings) as app,
        app.worker(workflows=[Calling], activities=[cancel_itself]),
    ):
        handle = await app.start(Calling)
        with pytest.raises(loom.WorkflowExecutionError, match="ActivityLostError"):
            await handle.result(30)


async def test_an_activity_finds_the_context_variables_of_its_worker_and_of_nobody_else(
    app: loom.Loom,
) -> None:
    tenant = ContextVar("tenant", default="nobody")

    @loom.activity
    async def become(name: str) -> str:
        before = tenant.get()
        tenant.set(name)
        return before

    @loom.activity
    def become_in_thread(name: str) -> str:
        before = tenant.get()
        tenant.set(name)
        return before

    @loom.workflow
    class Becoming(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> list[str]:
            found = []
            for name in ("a", "b"):
                found.append(await ctx.activity(become, name))
                found.append(await ctx.activity(become_in_thread, name))
                found.append(await ctx.local_activity(become, name))
            return found

    tenant.set("worker")
    async with app.worker(workflows=[Becoming], activities=[become, become_in_thread]):
        tenant.set("client")
        assert await (await app.start(Becoming)).result(30) == ["worker"] * 6
