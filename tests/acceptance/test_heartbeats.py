"""Activities that say how far they are: the next attempt goes on from there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

import loom
from tests.conditions import cut_off, eventually, given_time
from tests.faults import Counting, Deaf, watched_app

type Context = loom.WorkflowContext[Any, Any]

QUICK = loom.RetryPolicy(maximum_attempts=5, initial_interval=timedelta(milliseconds=1))

READ: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_read() -> None:
    READ.clear()


@pytest.fixture
async def app(any_dsn: str) -> AsyncIterator[loom.Loom]:
    settings = loom.Settings(lease_seconds=0.5, shutdown_grace_seconds=0.1)
    async with loom.Loom(any_dsn, settings=settings) as app:
        yield app


def calling(activity: Any) -> Any:
    @loom.workflow(name="Calling")
    class Calling(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> Any:
            try:
                return await ctx.activity(activity)
            except loom.ActivityTimeoutError as error:
                return f"{error.timeout} after {error.attempts}: {error.cause_message}"

    return Calling


async def pending_details(app: loom.Loom, id: str) -> bytes | None:
    run = await app._open_parts().store.repository.find_run(id)
    assert run is not None
    tasks = await app._open_parts().store.repository.list_tasks(run.run_key)
    return tasks[0].details if tasks else None


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_the_next_attempt_reads_what_the_last_one_said(app: loom.Loom, kind: str) -> None:
    def go_on() -> int:
        done = loom.activity_info().heartbeat_details(type=int) or 0
        READ.append(done)
        for number in range(done + 1, done + 4):
            loom.heartbeat(number)
        if done < 6:
            raise ValueError("not there yet")
        return done

    @loom.activity(name="copy", retry=QUICK)
    async def copy_async() -> int:
        return go_on()

    @loom.activity(name="copy", retry=QUICK)
    def copy_thread() -> int:
        return go_on()

    activity: Any = copy_async if kind == "async" else copy_thread
    workflow = calling(activity)
    async with app.worker(workflows=[workflow], activities=[activity]):
        assert await (await app.start(workflow)).result(30) == 6
    assert READ == [0, 3, 6]


@pytest.mark.parametrize("end", ["cut off", "stopped"])
async def test_what_was_said_outlives_the_worker(app: loom.Loom, end: str) -> None:
    @loom.activity
    async def copy() -> Any:
        details = loom.activity_info().heartbeat_details()
        READ.append(details)
        if details is not None:
            return details
        loom.heartbeat({"page": 1})
        loom.heartbeat({"page": 7})
        return await asyncio.Event().wait()

    workflow = calling(copy)
    async with app.worker(workflows=[workflow]):
        handle = await app.start(workflow, id="copying")
        async with app.worker(activities=[copy]) as first:
            await eventually(lambda: len(READ) == 1)

            async def is_written() -> bool:
                return b"7" in (await pending_details(app, "copying") or b"")

            if end == "cut off":
                await eventually(is_written)
                cut_off(first)
        async with app.worker(activities=[copy]):
            assert await handle.result(30) == {"page": 7}
    assert READ == [None, {"page": 7}]


async def test_heartbeats_are_read_as_a_type(app: loom.Loom) -> None:
    @loom.activity(retry=QUICK)
    async def copy() -> str:
        info = loom.activity_info()
        if info.attempt == 1:
            loom.heartbeat(timedelta(seconds=5))
            raise ValueError("again")
        with pytest.raises(loom.PayloadError):
            info.heartbeat_details(type=list[int])
        return str(info.heartbeat_details(type=timedelta))

    workflow = calling(copy)
    async with app.worker(workflows=[workflow], activities=[copy]):
        assert await (await app.start(workflow)).result(30) == "0:00:05"


async def test_details_that_cannot_be_stored_are_refused_where_they_are_said(
    app: loom.Loom,
) -> None:
    @loom.activity
    async def copy() -> str:
        with pytest.raises(loom.PayloadError):
            loom.heartbeat(object())
        return "refused"

    workflow = calling(copy)
    async with app.worker(workflows=[workflow], activities=[copy]):
        assert await (await app.start(workflow)).result(30) == "refused"


def test_outside_of_any_attempt_a_heartbeat_says_nothing() -> None:
    loom.heartbeat("half")


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_silent_attempt_is_given_up_and_tried_again(app: loom.Loom, kind: str) -> None:
    async def trial(silence: float) -> None:
        released = threading.Event()
        told = threading.Event()

        @loom.activity(name="silent", heartbeat_timeout=silence, retry=QUICK)
        async def silent_async() -> int:
            attempt = loom.activity_info().attempt
            if attempt == 1:
                await asyncio.Event().wait()
            return attempt

        @loom.activity(name="silent", heartbeat_timeout=silence, retry=QUICK)
        def silent_thread() -> int:
            info = loom.activity_info()
            if info.attempt == 1:
                released.wait(60)
                try:
                    loom.heartbeat()
                except loom.ActivityCancelledError:
                    if info.cancelled:
                        told.set()
            return info.attempt

        silent: Any = silent_async if kind == "async" else silent_thread
        workflow = calling(silent)
        try:
            async with app.worker(workflows=[workflow], activities=[silent]):
                assert await (await app.start(workflow)).result(30) == 2
        finally:
            released.set()
        if kind == "thread":
            assert await asyncio.to_thread(told.wait, 30)

    await given_time(trial, 0.05, 1, 10)


async def test_silence_is_told_apart_from_slowness(app: loom.Loom) -> None:
    @loom.activity(heartbeat_timeout=0.05, start_to_close_timeout=30)
    async def silent() -> None:
        await asyncio.Event().wait()

    workflow = calling(silent)
    async with app.worker(workflows=[workflow], activities=[silent]):
        result = await (await app.start(workflow)).result(30)
    assert result == "heartbeat after 1: it was silent for longer than 0.05 s"


async def test_whoever_speaks_may_take_long(app: loom.Loom) -> None:
    async def trial(silence: float) -> None:
        @loom.activity(heartbeat_timeout=silence)
        async def talkative() -> str:
            for _ in range(50):
                await asyncio.sleep(silence / 20)
                loom.heartbeat()
            return "done"

        workflow = calling(talkative)
        async with app.worker(workflows=[workflow], activities=[talkative]):
            assert await (await app.start(workflow)).result(50) == "done"

    await given_time(trial, 0.2, 1, 8)


async def test_a_long_activity_needs_no_heartbeat_to_keep_its_lease(any_dsn: str) -> None:
    """Its worker renews it, several times over."""

    async def trial(lease: float) -> None:
        @loom.activity
        async def long() -> int:
            await asyncio.sleep(2.4 * lease)
            return loom.activity_info().attempt

        workflow = calling(long)
        settings = loom.Settings(lease_seconds=lease)
        async with (
            loom.Loom(any_dsn, settings=settings) as app,
            app.worker(workflows=[workflow]),
            app.worker(activities=[long]),
        ):
            handle = await app.start(workflow)
            async with app.worker(activities=[long]):
                assert await handle.result(50) == 1

    await given_time(trial, 0.5, 2, 10)


async def test_a_thousand_heartbeats_are_few_writes(any_dsn: str) -> None:
    counting = Counting()

    @loom.activity
    async def chatty() -> str:
        for number in range(1_000):
            loom.heartbeat(number)
            await asyncio.sleep(0)
        return "done"

    workflow = calling(chatty)
    async with (
        watched_app(any_dsn, counting) as app,
        app.worker(workflows=[workflow], activities=[chatty]),
    ):
        assert await (await app.start(workflow)).result(30) == "done"
    assert 1 <= counting.calls["record_heartbeats"] <= 3


async def test_a_heartbeat_whose_answer_is_lost_harms_nothing(any_dsn: str) -> None:
    @loom.activity(retry=QUICK)
    async def copy() -> Any:
        if (details := loom.activity_info().heartbeat_details()) is not None:
            return details
        loom.heartbeat("half")
        await eventually(lambda: deaf._calls > 0)
        raise ValueError("again")

    deaf = Deaf("record_heartbeats")
    workflow = calling(copy)
    async with (
        watched_app(any_dsn, deaf) as app,
        app.worker(workflows=[workflow], activities=[copy]),
    ):
        assert await (await app.start(workflow)).result(30) == "half"
