"""Local activities: no task, several in one commit, run again only if they were not written."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

import loom
from tests.conditions import cut_off, eventually, given_time
from tests.faults import Counting, Fault, Faulty, sweep, watched_app

type Context = loom.WorkflowContext[Any, Any]

EXECUTIONS: Counter[str] = Counter()

OF_RUNS: Counter[tuple[str, str]] = Counter()
"""The same, by run."""

MAY_END = threading.Event()


@pytest.fixture(autouse=True)
def executions() -> Any:
    EXECUTIONS.clear()
    MAY_END.clear()
    yield
    MAY_END.set()


@loom.activity
async def look(what: str) -> str:
    EXECUTIONS[what] += 1
    OF_RUNS[loom.activity_info().run_id, what] += 1
    await asyncio.sleep(0)
    return what.upper()


@loom.activity
def look_in_thread(what: str) -> str:
    EXECUTIONS[what] += 1
    return f"{what.upper()} {threading.current_thread().name.startswith('loom-activity')}"


@loom.workflow
class Sequence(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> list[str]:
        found = [await ctx.local_activity(look, str(n)) for n in range(ctx.input)]
        await ctx.wait_for_signal("end")
        return found


async def test_ten_in_a_row_share_a_commit_and_have_no_task(
    any_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is, they are quick.
    monkeypatch.setattr("loom.runner.local_calls._PATIENCE", 60.0)
    counting = Counting()
    async with watched_app(any_dsn, counting) as app, app.worker(workflows=[Sequence]):
        handle = await app.start(Sequence, 10)

        async def are_done() -> bool:
            return (await handle.info()).history_length == 21

        await eventually(are_done)
        # The run's own start, and all that came of it.
        assert counting.calls["start_runs"] == 1
        assert counting.calls["write_transitions"] == 1
        assert counting.calls["claim_activity_tasks"] == 0
        await handle.signal("end")
        assert await handle.result(30) == [str(n) for n in range(10)]
        history = await handle.history()
    kinds = Counter(event.type for event in history)
    assert kinds["ACTIVITY_SCHEDULED"] == kinds["ACTIVITY_COMPLETED"] == 10
    asked = [event for event in history if event.type == "ACTIVITY_SCHEDULED"]
    assert all(event.attributes["local"] for event in asked)


async def test_threads_parallel_calls_and_ordinary_activities_go_together(any_dsn: str) -> None:
    @loom.workflow
    class Mixed(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> list[str]:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(ctx.local_activity(look_in_thread, "a")),
                    group.create_task(ctx.activity(look, "b")),
                    group.create_task(ctx.local_activity(look, what="c")),
                ]
            await ctx.sleep(0.01)
            return [*(task.result() for task in tasks), await ctx.local_activity(look, "d")]

    async with loom.Loom(any_dsn) as app, app.worker(workflows=[Mixed], activities=[look]):
        assert await (await app.start(Mixed)).result(30) == ["A True", "B", "C", "D"]
    assert EXECUTIONS == {"a": 1, "b": 1, "c": 1, "d": 1}


@loom.workflow
class Everything(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> list[str]:
        found = [await ctx.local_activity(look, "a"), await ctx.activity(look, "b")]
        found += await asyncio.gather(*(ctx.local_activity(look, what) for what in "cd"))
        return found


async def recorded(app: loom.Loom) -> list[str]:
    try:
        history = await app.handle("e").history()
    except loom.WorkflowNotFoundError:
        return []
    return [event.value.lower() for event in history if event.type == "ACTIVITY_COMPLETED"]


async def insist(app: loom.Loom) -> list[str]:
    """Start it, or find it, and wait for its end, whatever the store does."""
    while True:
        try:
            runs = await app.list(id="e")
            handle = app.handle("e") if runs else await app.start(Everything, id="e")
            return list(await handle.result(30))
        except loom.StoreUnavailableError:
            await asyncio.sleep(0.01)


@pytest.mark.timeout(120)
async def test_one_is_run_again_after_a_crash_before_its_commit_and_not_after(
    any_dsn: str, new_dsn: Any
) -> None:
    async def trial(n: int) -> bool:
        database = new_dsn()
        crashing = Faulty(Fault.CRASH, n)
        async with loom.Loom(database, settings=loom.Settings(lease_seconds=0.5)) as survivor:
            async with (
                watched_app(database, crashing, lease_seconds=0.5, shutdown_grace_seconds=0) as app,
                app.worker(workflows=[Everything], activities=[look]) as worker,
            ):
                talking = asyncio.create_task(insist(app))
                striking = asyncio.create_task(crashing.struck.wait())
                await asyncio.wait((talking, striking), return_when=asyncio.FIRST_COMPLETED)
                cut_off(worker)
                talking.cancel()
                striking.cancel()
                await asyncio.wait((talking, striking))
            written, before = await recorded(survivor), Counter(OF_RUNS)
            async with survivor.worker(workflows=[Everything], activities=[look]):
                assert await insist(survivor) == list("ABCD")
            [run] = await survivor.list()
            for what in "abcd":
                is_run_again = OF_RUNS[run.run_id, what] > before[run.run_id, what]
                assert is_run_again is (what not in written), what
        return crashing.struck.is_set()

    await sweep(trial)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("any_dsn", ["memory"], indirect=True)
@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER, Fault.TWICE])
async def test_any_call_may_go_wrong_once(any_dsn: str, fault: Fault, new_dsn: Any) -> None:
    async def trial(n: int) -> bool:
        faulty = Faulty(fault, n)
        async with (
            watched_app(new_dsn(), faulty, lease_seconds=0.5) as app,
            app.worker(workflows=[Everything], activities=[look]),
        ):
            assert await insist(app) == list("ABCD")
        return faulty.struck.is_set()

    await sweep(trial)


@loom.activity
async def long() -> str:
    attempt = loom.activity_info().attempt
    EXECUTIONS["long"] += 1
    while not MAY_END.is_set():
        await asyncio.sleep(0.01)
    return f"attempt {attempt}"


@loom.workflow
class Long(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> list[str]:
        task = asyncio.ensure_future(ctx.local_activity(long))
        said = await ctx.wait_for_signal("say")
        return [said, await task]


async def test_a_long_one_keeps_its_run_and_lets_it_hear(any_dsn: str) -> None:
    async def trial(lease: float) -> None:
        EXECUTIONS.clear()
        async with (
            loom.Loom(any_dsn, settings=loom.Settings(lease_seconds=lease)) as app,
            app.worker(workflows=[Long]),
            app.worker(workflows=[Long]),
        ):
            handle = await app.start(Long)
            await asyncio.sleep(2.4 * lease)
            await handle.signal("say", "hello")

            async def has_heard() -> bool:
                return any(event.type == "SIGNAL_RECEIVED" for event in await handle.history())

            await eventually(has_heard)
            assert EXECUTIONS["long"] == 1
            MAY_END.set()
            assert await handle.result(30) == ["hello", "attempt 1"]

    await given_time(trial, 0.5, 2, 10)


@pytest.mark.parametrize("end", ["stopped", "cut off"])
async def test_a_long_one_is_run_again_when_its_worker_is_gone(any_dsn: str, end: str) -> None:
    settings = loom.Settings(lease_seconds=0.5, shutdown_grace_seconds=0)
    async with loom.Loom(any_dsn, settings=settings) as app:
        async with app.worker(workflows=[Long]) as worker:
            handle = await app.start(Long)
            await eventually(lambda: EXECUTIONS["long"] == 1)

            async def is_written() -> bool:
                return (await handle.info()).history_length >= 2

            await eventually(is_written)
            if end == "cut off":
                cut_off(worker)
        async with app.worker(workflows=[Long]):
            await eventually(lambda: EXECUTIONS["long"] == 2)
            MAY_END.set()
            await handle.signal("say", "again")
            assert (await handle.result(30))[0] == "again"


async def test_its_time_is_up_though_nobody_had_the_run_by_then(any_dsn: str) -> None:
    @loom.workflow
    class Calling(loom.Workflow[float, Any]):
        async def run(self, ctx: loom.WorkflowContext[float, Any]) -> str:
            limited = loom.with_options(long, schedule_to_close_timeout=ctx.input)
            try:
                return await ctx.local_activity(limited)
            except loom.ActivityTimeoutError as error:
                return str(error.timeout)

    async def trial(limit: float) -> None:
        EXECUTIONS.clear()
        settings = loom.Settings(shutdown_grace_seconds=0)
        async with loom.Loom(any_dsn, settings=settings) as app:
            async with app.worker(workflows=[Calling]):
                handle = await app.start(Calling, limit)
                await eventually(lambda: EXECUTIONS["long"] == 1, limit)
            # Another than its worker looks at the time now.
            await asyncio.sleep(limit)
            async with app.worker(workflows=[Calling]):
                assert await handle.result(30) == "schedule_to_close"
        assert EXECUTIONS["long"] == 1

    await given_time(trial, 0.5, 2, 10)


async def test_cancelling_the_run_stops_it(any_dsn: str) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    @loom.activity
    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    @loom.workflow
    class Calling(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> None:
            await ctx.local_activity(endless)

    async with loom.Loom(any_dsn) as app, app.worker(workflows=[Calling]):
        handle = await app.start(Calling)
        await eventually(begun.is_set)
        await handle.cancel()
        with pytest.raises(loom.WorkflowCancelledError):
            await handle.result(30)
        await eventually(stopped.is_set)


async def test_it_is_retried_in_place_and_told_so(any_dsn: str) -> None:
    attempts: list[int] = []

    @loom.activity(
        retry=loom.RetryPolicy(maximum_attempts=3, initial_interval=timedelta(milliseconds=1))
    )
    async def flaky() -> int:
        info = loom.activity_info()
        attempts.append(info.attempt)
        loom.heartbeat(info.attempt)
        if info.attempt < 3:
            raise ValueError("again")
        return int(info.heartbeat_details())

    @loom.workflow
    class Calling(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> int:
            return await ctx.local_activity(flaky)

    async with loom.Loom(any_dsn) as app, app.worker(workflows=[Calling]):
        handle = await app.start(Calling)
        assert await handle.result(30) == 2
        [done] = [e for e in await handle.history() if e.type == "ACTIVITY_COMPLETED"]
    assert attempts == [1, 2, 3]
    assert done.attributes["attempt"] == 3


@loom.workflow
class Telling(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        try:
            await ctx.local_activity(CALLS[ctx.input])
        except loom.ActivityTimeoutError as error:
            return str(error.timeout)
        except loom.ActivityFailedError as error:
            return error.cause_message
        return "done"


@loom.activity
async def endless() -> None:
    await asyncio.Event().wait()


@loom.activity
async def later() -> None:
    raise loom.CompleteLater


@loom.activity
async def ask_for_token() -> str:
    return loom.activity_info().task_token


CALLS: dict[str, Any] = {
    "start_to_close": loom.with_options(endless, start_to_close_timeout=0.02),
    "schedule_to_close": loom.with_options(endless, schedule_to_close_timeout=0.4),
    "heartbeat": loom.with_options(endless, heartbeat_timeout=0.02),
    "later": later,
    "token": ask_for_token,
}


@pytest.mark.parametrize("call", CALLS)
async def test_its_times_hold_and_it_has_no_task(memory_dsn: str, call: str) -> None:
    async with loom.Loom(memory_dsn) as app, app.worker(workflows=[Telling]):
        told = await (await app.start(Telling, call)).result(30)
    assert told == call or "A local activity has no task" in told


async def test_one_whose_run_was_refused_is_never_run(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app, app.worker(workflows=[Sequence]):
        first = await app.start(Sequence, 1, id="taken")
        again = await app.start(Sequence, 1, id="taken")
        await first.signal("end")
        await again.result(30)
    assert EXECUTIONS["0"] == 1


ONCE_AN_HOUR = loom.RetryPolicy(maximum_attempts=None, initial_interval=3600, maximum_interval=3600)


@loom.activity(retry=ONCE_AN_HOUR)
async def fail_for_an_hour() -> None:
    EXECUTIONS["failed"] += 1
    raise ValueError("down")


@loom.workflow
class Failing(loom.Workflow[None, Any]):
    async def run(self, ctx: loom.WorkflowContext[None, Any]) -> None:
        await ctx.local_activity(fail_for_an_hour)


@loom.workflow
class Healthy(loom.Workflow[None, Any]):
    async def run(self, ctx: loom.WorkflowContext[None, Any]) -> str:
        return await ctx.local_activity(look, "here")


async def test_those_that_wait_to_be_tried_again_keep_nobody_out(app: loom.Loom) -> None:
    async with app.worker(workflows=[Failing, Healthy], concurrency=2):
        failing = [await app.start(Failing) for _ in range(3)]
        await eventually(lambda: EXECUTIONS["failed"] == 3)
        assert await (await app.start(Healthy)).result(30) == "HERE"
        for handle in failing:
            await handle.terminate()
