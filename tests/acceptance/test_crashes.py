"""Injected crashes: wherever a worker dies, its successor ends the run as if nothing had happened,
and nothing of the dead one is heard of again."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

import loom
from loom.testing import WorkflowEnvironment
from loom.testing.crashes import CommitWatch, CrashMoment, CrashPoint, watched

type Context = loom.WorkflowContext[Any, Any]

START = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
EXECUTIONS: Counter[str] = Counter()


@loom.activity(retry_count=1)
async def look(what: str) -> str:
    EXECUTIONS[what] += 1
    await asyncio.sleep(0)
    if what == "b" and loom.activity_info().failures == 0:
        raise OSError("the first time")
    return what.upper()


@loom.activity
def look_in_thread(what: str) -> str:
    EXECUTIONS[what] += 1
    return what.upper()


@loom.workflow
class Everything(loom.Workflow[Any, dict[str, Any]]):
    async def run(self, ctx: Context) -> list[str]:
        ctx.logger.info("begun")
        found = await asyncio.gather(
            ctx.activity(look, "a"), ctx.activity(look, "b"), ctx.activity(look_in_thread, "c")
        )
        await ctx.state.set("found", found)
        await ctx.sleep(30 * DAY)
        signal = asyncio.ensure_future(ctx.wait_for_signal("go"))
        found.append(await ctx.activity(look, "d"))
        found.append(await signal)
        ctx.logger.info("nearly done")
        return found


EXPECTED = ["A", "B", "C", "D", "now"]
SHAPE = Counter(
    {
        "WORKFLOW_STARTED": 1,
        "ACTIVITY_SCHEDULED": 4,
        "ACTIVITY_COMPLETED": 4,
        "STATE_SET": 1,
        "TIMER_STARTED": 1,
        "TIMER_FIRED": 1,
        "SIGNAL_RECEIVED": 1,
        "WORKFLOW_COMPLETED": 1,
    }
)


@asynccontextmanager
async def crashing(
    crash: CrashPoint | None, **options: Any
) -> AsyncIterator[tuple[WorkflowEnvironment, CommitWatch]]:
    watch = CommitWatch(crash)
    with watched(watch):
        env = WorkflowEnvironment(start_time=START, **options)
    async with env:
        yield env, watch


@pytest.mark.timeout(120)
@pytest.mark.parametrize("moment", list(CrashMoment))
async def test_a_worker_may_die_at_any_commit(
    moment: CrashMoment, any_dsn: str, new_dsn: Callable[[], str]
) -> None:
    for number in count(1):
        EXECUTIONS.clear()
        async with crashing(
            CrashPoint(number, moment),
            workflows=[Everything],
            activities=[look, look_in_thread],
            dsn=new_dsn(),
        ) as (env, watch):
            handle = await env.start(Everything, id="e")
            await env.advance(31 * DAY)
            await handle.signal("go", "now")
            assert await handle.result() == EXPECTED, watch.commits
            history = await handle.history()
            assert Counter(event.type for event in history) == SHAPE
            assert [line.message for line in await handle.logs()] == ["begun", "nearly done"]
            assert env.now <= START + timedelta(days=31, minutes=1)
        # A retry of its own, and one for a worker that has died.
        assert all(times <= 2 + (what == "b") for what, times in EXECUTIONS.items())
        if not watch.has_struck:
            assert number > 5
            return


async def test_what_was_recorded_before_a_crash_is_not_done_again(any_dsn: str) -> None:
    EXECUTIONS.clear()

    @loom.workflow
    class Two(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> list[str]:
            return [await ctx.activity(look, "x"), await ctx.activity(look, "y")]

    crash = CrashPoint(2, CrashMoment.AFTER)
    async with crashing(crash, workflows=[Two], activities=[look], dsn=any_dsn) as (env, watch):
        assert await (await env.start(Two)).result() == ["X", "Y"]
        assert "ACTIVITY_COMPLETED, ACTIVITY_SCHEDULED look" in watch.struck_commit
    assert EXECUTIONS["x"] == 1


async def test_nothing_of_a_dead_worker_goes_on(any_dsn: str) -> None:
    """Its other activities, on the loop and in threads, end without anybody hearing of it."""
    began: list[str] = []
    over: list[str] = []
    may_end = threading.Event()

    @loom.activity
    async def strike() -> None:
        while len(began) < 2:
            await asyncio.sleep(0)

    @loom.activity
    async def linger() -> str:
        began.append("linger")
        if began.count("linger") == 1:
            await asyncio.sleep(3600)
            over.append("linger")
        return "again"

    @loom.activity
    def linger_in_thread() -> str:
        began.append("thread")
        if began.count("thread") == 1:
            may_end.wait(20)
            return "too late"
        may_end.set()
        return "again"

    @loom.workflow
    class Lingering(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> list[str]:
            await ctx.sleep(1)
            activities = (strike, linger, linger_in_thread)
            _, *rest = await asyncio.gather(*(ctx.activity(a) for a in activities))
            return rest

    options: dict[str, Any] = {
        "workflows": [Lingering],
        "activities": [strike, linger, linger_in_thread],
        "dsn": any_dsn,
    }
    async with crashing(CrashPoint(3, CrashMoment.AFTER), **options) as (env, watch):
        assert await (await env.start(Lingering)).result() == ["again", "again"]
        assert watch.has_struck
    assert over == []


async def test_a_lease_that_was_renewed_for_long_runs_out_soon_after_a_crash(any_dsn: str) -> None:
    """While the activity sleeps for a year its lease must outlast the jumps of time; when its
    worker dies over another run, that must not keep others from it for a year."""

    @loom.activity
    async def sleep_long() -> str:
        if loom.activity_info().attempt == 1:
            await env.sleep(365 * DAY)
        return "slept"

    @loom.workflow
    class Long(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> str:
            return await ctx.activity(sleep_long)

    @loom.workflow
    class Short(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> None:
            await ctx.sleep(DAY)
            await ctx.sleep(DAY)

    async with crashing(
        CrashPoint(3, CrashMoment.BEFORE),
        workflows=[Long, Short],
        activities=[sleep_long],
        dsn=any_dsn,
    ) as (env, watch):
        long, short = await env.start(Long), await env.start(Short)
        await asyncio.gather(long.result(), short.result())
        assert "Short" in watch.struck_commit
        assert env.now <= START + 3 * DAY


async def test_another_worker_keeps_what_it_holds_when_one_dies(any_dsn: str) -> None:
    began: list[str] = []

    @loom.activity
    async def work_elsewhere() -> str:
        began.append("work")
        await env.sleep(DAY)
        return "done"

    @loom.workflow
    class Both(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> str:
            working = asyncio.ensure_future(ctx.activity(work_elsewhere))
            await ctx.sleep(60)
            return await working

    async with (
        crashing(CrashPoint(2, CrashMoment.BEFORE), workflows=[Both], dsn=any_dsn) as (env, watch),
        env.worker(activities=[work_elsewhere]),
    ):
        assert await (await env.start(Both)).result() == "done"
        assert watch.has_struck
    assert began == ["work"]


async def test_a_lost_attempt_gets_the_outcome_that_it_had(any_dsn: str) -> None:
    """However often a mock with several outcomes is tried because workers die."""
    outcomes = [OSError("once"), "second"]
    for number in range(1, 5):
        crash = CrashPoint(number, CrashMoment.BEFORE)
        async with crashing(crash, workflows=[One], mocks={look: outcomes}) as (env, watch):
            assert await (await env.start(One)).result() == "second", watch.commits


@loom.workflow
class One(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(look, "z")


async def test_two_crashes_of_one_test_are_told_apart_from_none() -> None:
    """A crash strikes once, in whichever environment makes that commit."""
    watch = CommitWatch(CrashPoint(3, CrashMoment.BEFORE))
    with watched(watch):
        for _ in range(2):
            async with WorkflowEnvironment(workflows=[One], mocks={look: "z"}) as env:
                assert await (await env.start(One)).result() == "z"
    assert watch.environments == 2
    assert watch.commits[2] == watch.struck_commit
    assert len(watch.commits) == 5


async def test_a_crash_in_the_middle_of_an_activity_leaves_its_heartbeats(any_dsn: str) -> None:
    """Each heartbeat is a commit: the next attempt reads the last that was made."""
    done: list[int] = []

    @loom.activity
    async def count_up() -> int:
        reached = loom.activity_info().heartbeat_details(type=int) or 0
        while reached < 4:
            await env.sleep(60)
            reached += 1
            done.append(reached)
            loom.heartbeat(reached)
        return reached

    @loom.workflow
    class Counting(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> int:
            return await ctx.activity(count_up)

    crash = CrashPoint(4, CrashMoment.AFTER)
    options: dict[str, Any] = {"workflows": [Counting], "activities": [count_up], "dsn": any_dsn}
    async with crashing(crash, **options) as (env, watch):
        assert await (await env.start(Counting)).result() == 4
        assert "heartbeat" in watch.struck_commit
    assert done == [1, 2, 3, 4]
