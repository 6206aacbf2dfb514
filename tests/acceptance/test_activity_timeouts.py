"""The times that activities are held to, whoever is alive."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest

import loom
from loom import TimeoutType
from tests.conditions import eventually, given_time

type Context = loom.WorkflowContext[Any, Any]

SHORT = timedelta(milliseconds=50)
LONG = timedelta(hours=1)

STARTED: list[int] = []
STOPPED: list[int] = []


@pytest.fixture(autouse=True)
def nothing_has_started() -> None:
    STARTED.clear()
    STOPPED.clear()


@loom.activity
async def endless() -> None:
    attempt = loom.activity_info().attempt
    STARTED.append(attempt)
    try:
        await asyncio.Event().wait()
    finally:
        STOPPED.append(attempt)


@loom.activity
async def failing() -> None:
    raise ValueError("again")


def waiting_for(call: Any) -> Any:
    @loom.workflow(name="Waiting")
    class Waiting(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> list[str]:
            try:
                await ctx.activity(call)
            except loom.ActivityTimeoutError as error:
                return [str(error.timeout), str(error.attempts), error.cause_message]
            return ["in time"]

    return Waiting


NEVER_BEGUN = [TimeoutType.SCHEDULE_TO_START, "0", "no worker began with it for 0.05 s"]


async def test_an_activity_that_no_worker_begins_times_out(app: loom.Loom) -> None:
    workflow = waiting_for(loom.with_options(endless, schedule_to_start_timeout=SHORT))
    async with app.worker(workflows=[workflow]):
        assert await (await app.start(workflow)).result(30) == NEVER_BEGUN
    async with app.worker(activities=[endless]):
        pass
    assert STARTED == []


async def test_the_time_runs_while_no_worker_is_alive(app: loom.Loom) -> None:
    workflow = waiting_for(loom.with_options(endless, schedule_to_start_timeout=SHORT))
    async with app.worker(workflows=[workflow]):
        handle = await app.start(workflow)
    await asyncio.sleep(SHORT.total_seconds())
    # Whoever comes too late for it finds nothing to begin with, though nobody has said so yet.
    async with app.worker(activities=[endless]) as worker:
        await eventually(lambda: worker._activity_loop._wait > 0.02)
    assert STARTED == []
    async with app.worker(workflows=[workflow], activities=[endless]):
        assert await handle.result(30) == NEVER_BEGUN


@pytest.mark.parametrize("where", ["here", "elsewhere"])
async def test_an_activity_that_has_begun_in_time_may_go_on(app: loom.Loom, where: str) -> None:
    async def trial(seconds: float) -> None:
        may_end = asyncio.Event()

        @loom.activity(schedule_to_start_timeout=seconds)
        async def long() -> None:
            STARTED.append(1)
            await may_end.wait()

        workflow = waiting_for(long)
        here, there = ([long], []) if where == "here" else ([], [long])
        async with (
            app.worker(workflows=[workflow], activities=here),
            app.worker(activities=there) if there else nullcontext(),
        ):
            handle = await app.start(workflow)
            await eventually(lambda: len(STARTED) > 0, 2 * seconds)
            await asyncio.sleep(1.5 * seconds)
            assert (await handle.info()).status is loom.RunStatus.RUNNING
            may_end.set()
            assert await handle.result(30) == ["in time"]

    await given_time(trial, 0.2, 2, 10)


@pytest.mark.parametrize("where", ["here", "elsewhere", "nowhere"])
async def test_an_activity_takes_no_longer_than_it_may_in_all(any_dsn: str, where: str) -> None:
    workflow = waiting_for(loom.with_options(endless, schedule_to_close_timeout=SHORT))
    settings = loom.Settings(lease_seconds=0.5)
    async with loom.Loom(any_dsn, settings=settings) as app:
        here = [endless] if where == "here" else []
        async with app.worker(workflows=[workflow], activities=here):
            handle = await app.start(workflow)
            async with app.worker(activities=[endless]) if where == "elsewhere" else nullcontext():
                result = await handle.result(30)
                # Whoever runs it hears of it.
                await eventually(lambda: STOPPED == STARTED)
    assert result[0] == TimeoutType.SCHEDULE_TO_CLOSE
    assert result[2] == "it took longer than 0.05 s in all"


async def test_retries_count_into_the_whole_time(app: loom.Loom) -> None:
    policy = loom.RetryPolicy(maximum_attempts=None, initial_interval=timedelta(milliseconds=10))

    async def trial(seconds: float) -> None:
        call = loom.with_options(failing, retry=policy, schedule_to_close_timeout=seconds)

        @loom.workflow
        class Waiting(loom.Workflow[Any, Any]):
            async def run(self, ctx: Context) -> list[Any]:
                try:
                    await ctx.activity(call)
                except loom.ActivityFailedError as error:
                    return [error.attempts, str(error)]
                return []

        async with app.worker(workflows=[Waiting], activities=[failing]):
            attempts, told = await (await app.start(Waiting)).result(30)
        assert attempts > 1
        assert "ValueError: again" in told

    await given_time(trial, 0.2, 2, 10)


async def test_a_retry_that_would_come_too_late_is_not_waited_for(app: loom.Loom) -> None:
    policy = loom.RetryPolicy(maximum_attempts=None, initial_interval=LONG, maximum_interval=LONG)
    call = loom.with_options(failing, retry=policy, schedule_to_close_timeout=timedelta(minutes=1))

    @loom.workflow
    class Waiting(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> str:
            try:
                await ctx.activity(call)
            except loom.ActivityFailedError as error:
                return error.cause_type
            return ""

    async with app.worker(workflows=[Waiting], activities=[failing]):
        assert await (await app.start(Waiting)).result(30) == "ValueError"


async def test_deadlines_outlive_their_worker(app: loom.Loom) -> None:
    async def trial(seconds: float) -> None:
        workflow = waiting_for(loom.with_options(endless, schedule_to_close_timeout=seconds))
        async with app.worker(workflows=[workflow]):
            handle = await app.start(workflow)
            wake_at = (await handle.info()).wake_at
            assert wake_at is not None
        async with app.worker(workflows=[workflow]):
            assert (await handle.result(30))[0] == TimeoutType.SCHEDULE_TO_CLOSE

    await given_time(trial, 0.2, 2, 10)
