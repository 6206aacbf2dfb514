"""An evicted run ends where it stands: its ``finally`` blocks run, and nothing they ask counts."""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import gc
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from loom.engine import loop as loop_module
from loom.errors import StopReplay
from loom.history.events import (
    FINAL_STATUS,
    ActivityCompleted,
    ArrivalEvent,
    Stamped,
    TimerFired,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from tests.engine_harness import SimulatedRun, replayed
from tests.unit.workflows import Ctx, add, clean, workflow_of

type Code = Callable[[Ctx], Awaitable[Any]]


@pytest.fixture(autouse=True)
def _nothing_is_kept_from_test_to_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "_never_ending", [])


def in_the_loop() -> bool:
    try:
        return type(asyncio.get_running_loop()).__name__ == "DeterministicLoop"
    except RuntimeError:
        return False


def unwound(code: Code) -> SimulatedRun:
    run = SimulatedRun(workflow_of(code)).start()
    recorded = list(run.history)
    run.close()
    gc.collect()
    assert run.history == recorded
    return run


def test_finally_blocks_run_with_stop_replay_and_in_the_run_s_loop() -> None:
    seen: list[Any] = []

    async def code(ctx: Ctx) -> None:
        try:
            await ctx.activity(clean)
        except Exception:
            seen.append("swallowed")
        except BaseException as error:
            seen.append(type(error))
            raise
        finally:
            seen.append(in_the_loop())

    unwound(code)
    assert seen == [StopReplay, True]


def test_what_unwound_code_asks_for_is_never_recorded_and_never_answered() -> None:
    seen = []

    async def code(ctx: Ctx) -> None:
        try:
            await ctx.activity(add, 1)
        finally:
            await ctx.state.set("a", 1)
            ctx.logger.info("unwound")
            asyncio.get_running_loop().call_later(5, seen.append, "called")
            try:
                await ctx.activity(clean)
                seen.append("answered")
            finally:
                try:
                    async with asyncio.timeout(5):
                        await ctx.sleep(5)
                    seen.append("slept")
                finally:
                    seen.append("ended")

    run = unwound(code)
    assert seen == ["ended"]
    assert run.instance._recorder.turn == run.history
    assert run.logs == []


def test_every_finally_of_deeply_nested_code_runs() -> None:
    ended = []

    async def nested(ctx: Ctx, depth: int) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.sleep(5))
                if depth:
                    await nested(ctx, depth - 1)
                await ctx.activity(clean)
        finally:
            ended.append((depth, in_the_loop()))

    async def code(ctx: Ctx) -> None:
        await nested(ctx, 20)

    unwound(code)
    assert ended == [(depth, True) for depth in range(21)]
    assert loop_module._never_ending == []


def test_all_tasks_end_in_the_order_in_which_they_were_created() -> None:
    ended = []

    async def waiting(ctx: Ctx, number: int) -> None:
        try:
            await ctx.wait_for_signal("never")
        finally:
            ended.append(number)

    async def code(ctx: Ctx) -> None:
        try:
            await asyncio.gather(*(waiting(ctx, number) for number in range(3)))
        finally:
            ended.append("main")

    unwound(code)
    assert ended == ["main", 0, 1, 2]


def test_tasks_that_unwound_code_starts_never_run() -> None:
    seen = []

    async def other() -> None:
        seen.append("ran")

    async def code(ctx: Ctx) -> None:
        try:
            await ctx.activity(clean)
        finally:
            task = asyncio.create_task(other())
            await task

    unwound(code)
    assert seen == []


def test_a_task_that_never_ran_is_ended_without_a_warning() -> None:
    async def other() -> None: ...

    async def code(ctx: Ctx) -> None:
        asyncio.create_task(other())  # noqa: RUF006

    run = SimulatedRun(workflow_of(code)).start()
    assert run.result is None
    del run
    gc.collect()


@pytest.mark.parametrize("finished", [True, False])
def test_async_generators_end_in_the_run_s_loop(finished: bool) -> None:
    ended = []

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(1)
        finally:
            ended.append(in_the_loop())
            await asyncio.sleep(1)

    async def code(ctx: Ctx) -> None:
        async for _ in numbers():
            if finished:
                break
        gc.collect()
        assert ended == []
        await ctx.activity(clean)

    unwound(code)
    assert ended == [True]


def test_code_that_swallows_everything_for_ever_is_left_alone_and_never_resumed() -> None:
    resumed = []

    async def code(ctx: Ctx) -> None:
        while True:
            try:
                await asyncio.sleep(5)
            except BaseException:
                resumed.append(True)

    run = unwound(code)
    count = len(resumed)
    assert 0 < count <= 100
    del run
    gc.collect()
    assert len(resumed) == count


SWALLOWING = """
import asyncio
from tests.engine_harness import SimulatedRun
from tests.unit.workflows import workflow_of

async def code(ctx):
    while True:
        try:
            await asyncio.sleep(5)
        except BaseException:
            continue

run = SimulatedRun(workflow_of(code)).start()
run.close()
"""


def test_code_that_swallows_everything_for_ever_does_not_keep_the_process_from_ending() -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", SWALLOWING]
    assert subprocess.run(command, cwd=root, timeout=60, check=False).returncode == 0


def test_code_that_swallows_everything_a_few_times_ends() -> None:
    async def code(ctx: Ctx) -> None:
        for _ in range(20):
            with contextlib.suppress(BaseException):
                await ctx.activity(clean)

    unwound(code)
    assert loop_module._never_ending == []


def test_unwinding_twice_does_nothing_more() -> None:
    ended = []

    async def code(ctx: Ctx) -> None:
        try:
            await ctx.activity(clean)
        finally:
            ended.append(True)

    run = unwound(code)
    run.close()
    assert ended == [True]


async def test_a_host_s_task_is_current_again_after_unwinding() -> None:
    async def code(ctx: Ctx) -> None:
        try:
            await ctx.activity(clean)
        finally:
            assert asyncio.current_task() is None

    task = asyncio.current_task()
    unwound(code)
    assert asyncio.current_task() is task


def test_what_code_resets_on_its_way_out_is_its_own() -> None:
    async def numbers() -> AsyncIterator[int]:
        with decimal.localcontext(prec=7):
            yield 1

    async def code(ctx: Ctx) -> None:
        async for _ in numbers():
            with decimal.localcontext(prec=5):
                await ctx.activity(clean)

    with decimal.localcontext(prec=3):
        unwound(code)
        assert decimal.getcontext().prec == 3


# --- memory ---


async def waiting(ctx: Ctx) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.activity(clean))
        group.create_task(ctx.sleep(5))
        group.create_task(ctx.wait_for_signal("go", timeout=9))


async def finished(ctx: Ctx) -> None:
    asyncio.create_task(ctx.sleep(5))  # noqa: RUF006
    await asyncio.sleep(0)


async def failed(ctx: Ctx) -> None:
    async def fail() -> None:
        raise ValueError("failed")

    await asyncio.gather(ctx.activity(clean), fail())


@pytest.mark.parametrize("code", [waiting, finished, failed])
def test_an_unwound_instance_is_freed(code: Code) -> None:
    run = SimulatedRun(workflow_of(code)).start()
    parts = run.instance, run.instance._context
    left = [weakref.ref(part) for part in parts if part is not None]
    run.close()
    del run, parts
    gc.collect()
    assert not any(part() for part in left)


def test_garbage_collection_does_not_touch_a_run_that_waits() -> None:
    """Nothing but the instance holds what its code waits for."""

    async def waiting_alone(ctx: Ctx) -> None:
        await ctx.sleep(5)
        await ctx.activity(clean)

    async def code(ctx: Ctx) -> None:
        asyncio.create_task(waiting_alone(ctx))  # noqa: RUF006
        await asyncio.get_running_loop().create_future()

    run = SimulatedRun(workflow_of(code)).start()
    gc.collect()
    run.deliver(TimerFired(1))
    assert run.types[-2:] == ["TIMER_FIRED", "ACTIVITY_SCHEDULED"]
    run.close()


def test_a_long_run_keeps_nothing_of_what_is_over() -> None:
    async def code(ctx: Ctx) -> None:
        for number in range(500):
            await ctx.activity(add, number)
            await ctx.sleep(1)
            await asyncio.create_task(ctx.wait_for_signal(f"go-{number}"))

    run = SimulatedRun(workflow_of(code)).start()
    for number in range(499):
        run.complete("add", number)
        run.advance(1)
        run.signal(f"go-{number}")
    instance = run.instance
    assert len(instance._activities) == 1
    assert len(instance._loop._tasks) == 1
    assert (len(instance._timers._heap), len(instance._timers._callbacks)) == (0, 0)
    assert (instance._signals._waiting, instance._signals._waiters) == ({}, {})
    run.close()


def test_a_thousand_activities_at_once_cost_as_many_commands() -> None:
    count = 1000

    async def code(ctx: Ctx) -> int:
        return sum(await asyncio.gather(*(ctx.activity(add, n) for n in range(count))))

    run = SimulatedRun(workflow_of(code)).start()
    encode = run.converter.encode
    run.deliver(*(ActivityCompleted(n + 1, 1, encode(n)) for n in range(count)))
    assert run.result == sum(range(count))
    assert len(run.history) == 2 * count + 2


async def test_a_run_is_unwound_outside_of_any_task_of_the_host() -> None:
    """Lost leases are told in a plain callback, where the host has no task to be restored."""
    seen: list[bool] = []

    async def code(ctx: Ctx) -> None:
        try:
            await ctx.activity(clean)
        finally:
            seen.append(in_the_loop())

    run = SimulatedRun(workflow_of(code)).start()
    host, errors = asyncio.get_running_loop(), list[Any]()
    host.set_exception_handler(lambda _, context: errors.append(context))
    host.call_soon(run.close)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (seen, errors) == ([True], [])
    assert asyncio.current_task() is not None


def test_a_closed_run_is_freed_at_once_and_leaves_the_collector_no_work() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.sleep(1)

    run = SimulatedRun(workflow_of(code)).start()
    instance = weakref.ref(run.instance)
    gc.collect()
    gc.disable()
    try:
        run.deliver(TimerFired(1))
        run.close()
        del run
        assert instance() is None
    finally:
        gc.enable()


async def in_a_group(ctx: Ctx) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.sleep(5))
        group.create_task(ctx.wait_for_signal("go", timeout=9))


async def gathered(ctx: Ctx) -> None:
    await asyncio.gather(ctx.activity(clean), ctx.sleep(1), asyncio.shield(ctx.activity(clean)))


async def in_limited_time(ctx: Ctx) -> None:
    async with asyncio.timeout(5):
        await asyncio.wait_for(ctx.wait_for_signal("go"), 3)


async def on_a_lock(ctx: Ctx) -> None:
    lock = asyncio.Lock()
    async with lock, asyncio.timeout(5):
        await lock.acquire()


async def on_a_task(ctx: Ctx) -> None:
    await asyncio.create_task(ctx.wait_condition(lambda: False))


WAITS = [in_a_group, gathered, in_limited_time, on_a_lock, on_a_task]


@pytest.mark.parametrize("code", WAITS)
def test_an_unwound_run_leaves_the_collector_no_work(code: Code) -> None:
    """A worker lets go of runs all the time that others took further: what they were made of
    would stay until the collector looks, which it seldom does."""
    workflow = workflow_of(code)
    run = SimulatedRun(workflow).start()
    gc.collect()
    gc.disable()
    try:
        run.close()
        del run
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
    finally:
        gc.set_debug(0)
        gc.enable()
    left = [type(each).__name__ for each in gc.garbage]
    gc.garbage.clear()
    assert left == []


@pytest.mark.parametrize("end", [WorkflowTerminated("no more"), WorkflowTimedOut()])
def test_a_run_that_was_ended_before_its_code_ran_replays(end: ArrivalEvent) -> None:
    """Nobody knows what the code would have asked for, and nobody asks."""

    async def code(ctx: Ctx) -> None:
        await ctx.activity(add, 1, 2)

    started = WorkflowStarted("Looking", "1", b'["NoneType",null]')
    again = replayed(workflow_of(code), [Stamped(started, 1), Stamped(end, 2)])
    assert again.status is FINAL_STATUS[type(end)]
