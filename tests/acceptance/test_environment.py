"""The environment for tests: time is skipped when nothing else can happen, and never otherwise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import loom
from loom.testing import HANGS, WorkflowEnvironment

type Context = loom.WorkflowContext[Any, Any]

START = datetime(2030, 1, 1, tzinfo=UTC)
MONTH = timedelta(days=30)
HOUR = timedelta(hours=1)
ENDLESS = loom.RetryPolicy(
    maximum_attempts=None, initial_interval=HOUR, maximum_interval=2 * HOUR, jitter=0
)


@loom.activity
async def greet(name: str, *, loudly: bool = False) -> str:
    await asyncio.sleep(0.02)
    return f"hello {name}" + "!" * loudly


@loom.activity
def greet_in_thread(name: str) -> str:
    threading.Event().wait(0.02)
    return f"hello {name}"


@loom.activity(retry=ENDLESS)
async def fetch(what: str) -> str:
    raise OSError("no network in tests")


@loom.activity(timeout_seconds=3600)
async def ponder() -> str:
    return "42"


@loom.workflow
class Greeting(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> list[str]:
        first = await ctx.activity(greet, ctx.input)
        await ctx.sleep(MONTH)
        return [first, await ctx.activity(greet_in_thread, ctx.input), ctx.now().isoformat()]


@loom.workflow
class Fetching(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        return await ctx.activity(fetch, ctx.input)


@loom.workflow
class Pondering(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(ponder)


@loom.workflow
class Approval(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.wait_for_signal("approve", timeout=timedelta(days=7))


@loom.workflow
class Patience(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.wait_for_signal("approve")


WORKFLOWS = (Greeting, Fetching, Pondering, Approval, Patience)
ACTIVITIES = (greet, greet_in_thread, fetch, ponder)


def environment(**options: Any) -> WorkflowEnvironment:
    mocked = [loom_activity.__name__ for loom_activity in options.get("mocks", {})]
    activities = [a for a in ACTIVITIES if a.__name__ not in mocked]
    return WorkflowEnvironment(
        workflows=WORKFLOWS, activities=activities, start_time=START, **options
    )


@pytest.fixture
async def env(any_dsn: str) -> AsyncIterator[WorkflowEnvironment]:
    async with environment(dsn=any_dsn) as env:
        yield env


# --- time ----------------------------------------------------------------------------------------


async def test_a_month_passes_while_the_result_is_awaited(env: WorkflowEnvironment) -> None:
    handle = await env.start(Greeting, "you")
    assert await handle.result() == ["hello you", "hello you", (START + MONTH).isoformat()]
    assert env.now == START + MONTH
    history = await handle.history()
    assert {event.recorded_at for event in history} == {START, START + MONTH}


async def test_time_stands_still_while_nobody_waits(env: WorkflowEnvironment) -> None:
    handle = await env.start(Approval)
    await asyncio.sleep(0.05)
    assert env.now == START
    await handle.signal("approve", True)
    assert await handle.result() is True
    assert env.now == START


async def test_time_stands_still_while_an_activity_runs(env: WorkflowEnvironment) -> None:
    """Two activities that take real time, and a timer of a month beside them."""
    waiting = await env.start(Approval, id="waits")
    handle = await env.start(Greeting, "you")
    result = asyncio.create_task(waiting.result())
    while not any(event.type == "TIMER_STARTED" for event in await handle.history()):
        assert env.now == START
        await asyncio.sleep(0)
    result.cancel()


async def test_time_passes_as_far_as_it_is_told_to(env: WorkflowEnvironment) -> None:
    handle = await env.start(Greeting, "you")
    await env.advance(MONTH - timedelta(seconds=1))
    assert env.now == START + MONTH - timedelta(seconds=1)
    assert await handle.status() is loom.RunStatus.RUNNING
    await env.advance(1)
    assert await handle.status() is loom.RunStatus.COMPLETED


async def test_what_a_test_does_meanwhile_can_take_time_too(env: WorkflowEnvironment) -> None:
    handle = await env.start(Approval)

    async def approve_late() -> None:
        await env.sleep(timedelta(days=6))
        await handle.signal("approve", "late")

    result, _ = await asyncio.gather(handle.result(), approve_late())
    assert result == "late"
    assert env.now == START + timedelta(days=6)


async def test_a_wait_for_a_result_ends_by_virtual_time(env: WorkflowEnvironment) -> None:
    handle = await env.start(Greeting, "you")
    with pytest.raises(TimeoutError):
        await handle.result(timedelta(days=3))
    assert env.now == START + timedelta(days=3)
    assert await handle.result()


async def test_a_run_can_be_terminated_and_cancelled(env: WorkflowEnvironment) -> None:
    for ending in ("terminate", "cancel"):
        handle = await env.start(Patience)
        await env.advance(1)
        await getattr(handle, ending)(reason="enough")
        with pytest.raises(loom.WorkflowExecutionError, match="enough"):
            await handle.result()


async def test_two_environments_keep_their_own_time() -> None:
    async with environment() as one, environment() as other:
        handles = [await one.start(Greeting, "one"), await other.start(Approval)]
        results = await asyncio.gather(*(h.result() for h in handles), return_exceptions=True)
        assert isinstance(results[1], loom.WorkflowFailedError)
        assert (one.now, other.now) == (START + MONTH, START + timedelta(days=7))


async def test_it_begins_now_unless_it_is_told_otherwise() -> None:
    before = datetime.now(UTC)
    async with WorkflowEnvironment() as env:
        assert before <= env.now <= datetime.now(UTC)
    with pytest.raises(loom.ConfigurationError, match="time zone"):
        WorkflowEnvironment(start_time=datetime(2030, 1, 1))
    with pytest.raises(loom.ConfigurationError, match="not open"):
        print(env.now)


async def test_many_runs_sleep_side_by_side(env: WorkflowEnvironment) -> None:
    handles = [await env.start(Approval, id=f"run-{n}") for n in range(20)]
    results = await asyncio.gather(*(h.result() for h in handles), return_exceptions=True)
    assert all(isinstance(result, loom.WorkflowFailedError) for result in results)
    assert env.now == START + timedelta(days=7)


# --- mocks ---------------------------------------------------------------------------------------


async def test_a_function_takes_an_activitys_place(any_dsn: str) -> None:
    async def slow(name: str) -> str:
        await env.sleep(timedelta(hours=2))
        return f"slow {name}"

    mocks = {greet: lambda name, *, loudly=False: f"quick {name}", greet_in_thread: slow}
    async with environment(mocks=mocks, dsn=any_dsn) as env:
        handle = await env.start(Greeting, "you")
        result = await handle.result()
        assert result[:2] == ["quick you", "slow you"]
        assert env.now == START + MONTH + timedelta(hours=2)
        history = await handle.history()
        names = [e.attributes["name"] for e in history if e.type == "ACTIVITY_SCHEDULED"]
        assert names == ["greet", "greet_in_thread"]


async def test_outcomes_come_one_after_the_other_and_retries_wait_in_virtual_time() -> None:
    outcomes = [OSError("one"), OSError, "found"]
    async with environment(mocks={fetch: outcomes}) as env:
        assert await (await env.start(Fetching, "it")).result() == "found"
        assert env.now == START + timedelta(hours=3)
        calls = env.calls(fetch)
        assert [call.info.attempt for call in calls] == [1, 2, 3]
        assert [call.arguments for call in calls] == [{"what": "it"}] * 3


async def test_a_mock_without_outcomes_left_fails_its_activity_at_once() -> None:
    async with environment(mocks={fetch: [OSError()]}) as env:
        with pytest.raises(loom.WorkflowFailedError, match="1 outcome, and this is attempt 2"):
            await (await env.start(Fetching, "it")).result()


async def test_a_mock_that_hangs_ends_by_its_timeout() -> None:
    async with environment(mocks={ponder: HANGS}) as env:
        with pytest.raises(loom.WorkflowFailedError, match="it took longer than 3600 s"):
            await (await env.start(Pondering)).result()
        assert env.now == START + timedelta(hours=1)


async def test_an_activity_that_sleeps_for_long_keeps_its_lease(any_dsn: str) -> None:
    """For far longer than its lease, while another worker would take it and its run."""
    began: list[str] = []

    async def slow(name: str, *, loudly: bool = False) -> str:
        began.append(name)
        await env.sleep(timedelta(days=400))
        return "slow"

    @loom.activity(name="greet")
    async def thief(name: str, *, loudly: bool = False) -> str:
        raise AssertionError("the lease has run out")

    async with environment(mocks={greet: slow}, dsn=any_dsn) as env:
        handle = await env.start(Greeting, "you")
        await env.advance(1)
        async with env.worker(workflows=WORKFLOWS, activities=[thief, greet_in_thread]):
            assert (await handle.result())[0] == "slow"
    assert began == ["you"]


async def test_what_a_mock_returns_must_fit_the_activitys_type() -> None:
    async with environment(mocks={greet: 42}) as env:
        with pytest.raises(loom.WorkflowFailedError, match="declared as str"):
            await (await env.start(Greeting, "you")).result()


def test_a_mock_that_cannot_be_called_as_its_activity_is_refused() -> None:
    def takes_nothing() -> str:
        return ""

    def wants_more(name: str, greeting: str) -> str:
        return ""

    def knows_no_option(name: str) -> str:
        return ""

    for mock in (takes_nothing, wants_more, knows_no_option, [takes_nothing]):
        with pytest.raises(loom.DefinitionError, match="mock of activity 'greet'"):
            environment(mocks={greet: mock})
    with pytest.raises(loom.DefinitionError, match="is not an activity"):
        environment(mocks={len: 1})


async def test_activities_without_a_mock_can_be_refused() -> None:
    async with environment(allow_unmocked=False) as env:
        with pytest.raises(loom.WorkflowFailedError, match="'greet' has no mock"):
            await (await env.start(Greeting, "you")).result()


async def test_calls_of_activities_that_are_not_mocked_are_kept_too(
    env: WorkflowEnvironment,
) -> None:
    await (await env.start(Greeting, "you")).result()
    assert [call.arguments for call in env.calls(greet)] == [{"name": "you"}]
    assert len(env.calls(greet_in_thread)) == 1
    assert env.calls(ponder) == []


# --- what cannot go on ---------------------------------------------------------------------------


async def test_waiting_for_what_never_comes_is_told_with_the_place(
    env: WorkflowEnvironment,
) -> None:
    handle = await env.start(Patience, id="patient")
    with pytest.raises(loom.DeadlockError) as caught:
        await handle.result()
    message = str(caught.value)
    assert "workflow 'patient' (Patience) is RUNNING" in message
    assert 'in run: return await ctx.wait_for_signal("approve")' in message
    await handle.signal("approve", "after all")
    assert await handle.result() == "after all"


async def test_an_activity_that_nobody_was_given_is_named() -> None:
    async with WorkflowEnvironment(workflows=[Greeting], activities=[greet]) as env:
        with pytest.raises(loom.DeadlockError, match=r"'greet_in_thread', which no worker here"):
            await (await env.start(Greeting, "you")).result()


async def test_a_workflow_that_nobody_was_given_is_named() -> None:
    async with WorkflowEnvironment() as env:
        with pytest.raises(loom.DeadlockError, match="no worker here was given 'Greeting'"):
            await (await env.start(Greeting, "you")).result()


async def test_a_blocked_run_is_told_with_its_reason() -> None:
    ways = [MONTH, None]

    @loom.workflow
    class Fickle(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> None:
            way = ways.pop(0)
            if way is not None:
                await ctx.sleep(way)
            await ctx.activity(greet, "you")

    settings = loom.Settings(max_cached_runs=0)  # each turn after a wait is a replay
    async with WorkflowEnvironment(
        workflows=[Fickle], activities=[greet], settings=settings
    ) as env:
        with pytest.raises(loom.DeadlockError, match=r"BLOCKED\n(?s:.*)history: TIMER_STARTED"):
            await (await env.start(Fickle)).result()


async def test_a_test_with_real_waits_of_its_own_is_given_time(env: WorkflowEnvironment) -> None:
    handle = await env.start(Patience)
    result = asyncio.create_task(handle.result())
    await asyncio.sleep(0.1)
    await handle.signal("approve", "late")
    assert await result == "late"


# --- beside the environment's own worker ----------------------------------------------------------


async def test_workflows_can_be_started_as_in_an_application(env: WorkflowEnvironment) -> None:
    handle = await Greeting.start("you")
    assert (await handle.result())[0] == "hello you"


async def test_other_workers_share_its_time(any_dsn: str) -> None:
    async with WorkflowEnvironment(workflows=[Greeting], dsn=any_dsn, start_time=START) as env:
        async with env.worker(activities=[greet, greet_in_thread]):
            handle = await env.start(Greeting, "you")
            assert (await handle.result())[0] == "hello you"
        assert env.now == START + MONTH


@loom.workflow
class Answering(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> None:
        self.days = 0
        while self.days < 30:
            await ctx.sleep(timedelta(days=1))
            self.days += 1

    @loom.query
    def passed(self) -> int:
        return self.days


async def test_queries_are_answered_in_the_middle_of_a_month(any_dsn: str) -> None:
    async with WorkflowEnvironment(workflows=[Answering], dsn=any_dsn, start_time=START) as env:
        await env.start(Answering, id="answering")
        await env.advance(timedelta(days=7))
        assert await env.handle("answering").query("passed") == 7
        assert env.now == START + timedelta(days=7)


async def test_an_activity_hears_of_the_end_of_its_run(any_dsn: str) -> None:
    stopped: list[str] = []

    async def endless() -> str:
        try:
            await env.sleep(timedelta(days=1000))
        except asyncio.CancelledError:
            stopped.append("stopped")
            raise
        return "never"

    mocks = {ponder: endless}
    async with environment(mocks=mocks, dsn=any_dsn) as env:
        handle = await env.start(Pondering)
        await env.advance(60)
        await handle.terminate(reason="enough")
        await env.advance(60)
        assert stopped == ["stopped"]


async def test_an_activity_can_be_completed_by_the_test(any_dsn: str) -> None:
    tokens: list[str] = []

    def leave_it() -> str:
        tokens.append(loom.activity_info().task_token)
        raise loom.CompleteLater

    async with environment(mocks={ponder: leave_it}, dsn=any_dsn) as env:
        handle = await env.start(Pondering)
        await env.advance(60)
        await env.complete_activity(tokens[0], "at last")
        assert await handle.result() == "at last"
