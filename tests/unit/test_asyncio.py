"""asyncio's own tools work inside a workflow, deterministically and durably."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import decimal
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from loom.errors import ActivityFailedError
from loom.history.events import ActivityCancelRequested, ActivityCompleted, TimerStarted
from loom.identifiers import END_OF_TIME
from tests.engine_harness import Play
from tests.unit.workflows import Ctx, add, clean, fetch, workflow_of


def test_gather_asks_in_the_order_written_and_keeps_the_order_of_results(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        return await asyncio.gather(*(ctx.activity(add, n) for n in range(4)))

    run = play(workflow_of(code))
    assert [scheduled.activity_id for scheduled in run.pending] == [1, 2, 3, 4]
    run.deliver(*(ActivityCompleted(n, 1, run.converter.encode(n * 10)) for n in (3, 1, 4, 2)))
    assert run.result == [10, 20, 30, 40]


def test_gather_may_return_failures(play: Play) -> None:
    async def code(ctx: Ctx) -> list[str]:
        outcomes = await asyncio.gather(
            ctx.activity(add, 1), ctx.activity(fetch, "x"), return_exceptions=True
        )
        return [type(outcome).__name__ for outcome in outcomes]

    run = play(workflow_of(code))
    run.fail("add")
    run.complete("fetch", "X")
    assert run.result == ["ActivityFailedError", "str"]


def test_a_task_group_cancels_the_others_when_one_fails(play: Play) -> None:
    async def code(ctx: Ctx) -> int:
        count = 0
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.activity(add, 1))
                group.create_task(ctx.activity(fetch, "x"))
                group.create_task(ctx.sleep(50))
        except* ActivityFailedError as failures:
            count = len(failures.exceptions)
        return count

    run = play(workflow_of(code))
    run.fail("add")
    assert run.result == 1
    assert run.types[-4:] == [
        "ACTIVITY_FAILED",
        "ACTIVITY_CANCEL_REQUESTED",
        "TIMER_CANCELLED",
        "WORKFLOW_COMPLETED",
    ]


def test_asyncio_sleep_is_a_durable_timer(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        return await asyncio.sleep(3600, "slept")

    run = play(workflow_of(code))
    run.advance(3600)
    assert run.result == "slept"
    assert run.types[1:3] == ["TIMER_STARTED", "TIMER_FIRED"]


@pytest.mark.parametrize("tool", ["timeout", "wait_for"])
def test_a_timeout_cancels_what_it_waited_for(play: Play, tool: str) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            if tool == "wait_for":
                await asyncio.wait_for(ctx.activity(clean), 5)
            async with asyncio.timeout(5):
                await ctx.activity(clean)
        except TimeoutError:
            return "late"
        return "in time"

    run = play(workflow_of(code))
    run.advance(5)
    assert run.result == "late"
    assert run.types.count("ACTIVITY_CANCEL_REQUESTED") == 1


def test_a_timeout_that_is_not_reached_is_cancelled(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        async with asyncio.timeout(5):
            await ctx.activity(clean)
        return "in time"

    run = play(workflow_of(code))
    run.complete("clean")
    assert run.result == "in time"
    assert run.types[-2:] == ["TIMER_CANCELLED", "WORKFLOW_COMPLETED"]


def test_the_shorter_of_nested_timeouts_counts(play: Play) -> None:
    async def code(ctx: Ctx) -> list[str]:
        trace = []
        try:
            async with asyncio.timeout(10):
                try:
                    async with asyncio.timeout(5):
                        await ctx.activity(clean)
                except TimeoutError:
                    trace.append("inner")
                async with asyncio.timeout(60):
                    await ctx.activity(clean)
        except TimeoutError:
            trace.append("outer")
        return trace

    run = play(workflow_of(code))
    run.advance(10)
    assert run.result == ["inner", "outer"]


def test_a_timeout_may_be_rescheduled(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5) as deadline:
            deadline.reschedule(loop.time() + 60)
            await ctx.activity(clean)
        return "in time"

    run = play(workflow_of(code))
    run.advance(30)
    run.complete("clean")
    assert run.result == "in time"


def test_an_endless_timeout_can_be_stored(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        async with asyncio.timeout(math.inf):
            await asyncio.sleep(math.inf)

    run = play(workflow_of(code))
    moments = [event.fire_at for event in run.commands if isinstance(event, TimerStarted)]
    assert moments == [END_OF_TIME, END_OF_TIME]


def test_a_timeout_of_nothing_starts_no_timer(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        async with asyncio.timeout(None):
            await ctx.activity(clean)
        return "in time"

    run = play(workflow_of(code))
    run.complete("clean")
    assert run.types.count("TIMER_STARTED") == 0


def test_queues_events_locks_and_semaphores_work(play: Play) -> None:
    async def producer(ctx: Ctx, queue: asyncio.Queue[Any], done: asyncio.Event) -> None:
        for number in range(3):
            await queue.put(await ctx.activity(add, number))
        await done.wait()
        await queue.put(None)

    async def code(ctx: Ctx) -> list[Any]:
        queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        done, lock, condition = asyncio.Event(), asyncio.Lock(), asyncio.Condition()
        barrier = asyncio.Barrier(2)
        feeding = asyncio.create_task(producer(ctx, queue, done))
        seen = [await queue.get() for _ in range(3)]
        done.set()
        async with lock, condition:
            seen.append(await queue.get())
        await asyncio.gather(barrier.wait(), barrier.wait())
        await feeding
        return seen

    assert play(workflow_of(code)).run(add).result == [0, 1, 2, None]


def test_a_semaphore_bounds_what_runs_at_once(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        slots = asyncio.Semaphore(2)

        async def one(number: int) -> int:
            async with slots:
                return await ctx.activity(add, number)

        return await asyncio.gather(*map(one, range(5)))

    run = play(workflow_of(code))
    assert len(run.pending) == 2
    assert run.run(add).result == [0, 1, 2, 3, 4]


def test_a_task_group_cancels_in_the_order_of_creation(play: Play) -> None:
    """It keeps its tasks in a set, so that their hashes decide."""

    async def code(ctx: Ctx) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1), asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(ctx.activity(add, number))

    run = play(workflow_of(code))
    run.advance(1)
    cancelled = [e.activity_id for e in run.events if isinstance(e, ActivityCancelRequested)]
    assert cancelled == list(range(2, 42))


def test_sets_of_tasks_have_an_order_of_their_own(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        tasks = {asyncio.create_task(ctx.activity(add, number)) for number in range(100)}
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        for task in done:
            await task

    run = play(workflow_of(code))
    for number in (7, 50):
        run.deliver(ActivityCompleted(number, 1, run.converter.encode(1)))
    assert run.types.count("ACTIVITY_CANCEL_REQUESTED") == 99


def test_wait_and_as_completed_work_where_the_order_does_not_matter(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        tasks = [asyncio.create_task(ctx.activity(add, n)) for n in range(3)]
        first, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for following in asyncio.as_completed(rest):
            await following
        return sorted(task.result() for task in tasks), len(first)

    assert play(workflow_of(code)).run(add).result == ([0, 1, 2], 1)


def test_a_shield_keeps_an_activity_going(play: Play) -> None:
    async def code(ctx: Ctx) -> int:
        asking = asyncio.ensure_future(ctx.activity(add, 1))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(asking)
        return await asking

    run = play(workflow_of(code))
    run.advance(1)
    run.complete("add", 1)
    assert run.result == 1
    assert "ACTIVITY_CANCEL_REQUESTED" not in run.types


def test_async_generators_work_finished_or_not(play: Play) -> None:
    closed = []

    async def numbers(ctx: Ctx, name: str) -> AsyncIterator[int]:
        try:
            for number in range(3):
                yield await ctx.activity(add, number)
        finally:
            closed.append(name)

    async def code(ctx: Ctx) -> list[int]:
        seen = [number async for number in numbers(ctx, "finished")]
        async for number in numbers(ctx, "left"):
            seen.append(number)
            break
        async with contextlib.aclosing(numbers(ctx, "closed")) as generator:
            seen.append(await anext(generator))
        await ctx.activity(clean)
        return seen

    run = play(workflow_of(code)).run(add, clean)
    assert run.result == [0, 1, 2, 0, 0]
    assert closed == ["finished", "closed", "left"]


def test_many_async_generators_are_not_kept_when_they_have_finished(play: Play) -> None:
    async def once() -> AsyncIterator[int]:
        yield 1

    async def code(ctx: Ctx) -> None:
        for _ in range(1000):
            async for _ in once():
                pass
        await ctx.activity(clean)

    assert len(play(workflow_of(code)).instance._loop._async_generators) <= 513


def test_tasks_have_names_that_are_the_same_every_time(play: Play) -> None:
    async def name(ctx: Ctx) -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    async def code(ctx: Ctx) -> list[str]:
        named = asyncio.create_task(name(ctx), name="mine")
        return [await name(ctx), await asyncio.create_task(name(ctx)), await named]

    assert play(workflow_of(code)).result == ["workflow-task-1", "workflow-task-3", "mine"]


# --- context variables ---

HOST: contextvars.ContextVar[str] = contextvars.ContextVar("host", default="nobody's")


def test_context_variables_do_not_leak_either_way(play: Play) -> None:
    async def child() -> str:
        seen = HOST.get()
        HOST.set("the child's")
        return seen

    async def code(ctx: Ctx) -> list[str]:
        seen = [HOST.get()]
        HOST.set("the workflow's")
        seen.append(await asyncio.create_task(child()))
        await asyncio.sleep(1)
        seen.append(HOST.get())
        await ctx.activity(clean)
        return [*seen, HOST.get()]

    token = HOST.set("the host's")
    try:
        run = play(workflow_of(code))
        run.advance(1)
        run.complete("clean")
        assert HOST.get() == "the host's"
    finally:
        HOST.reset(token)
    assert run.result == ["nobody's", "the workflow's", "the workflow's", "the workflow's"]


def test_the_host_s_decimal_precision_is_not_the_workflow_s(play: Play) -> None:
    async def code(ctx: Ctx) -> int:
        return decimal.getcontext().prec

    with decimal.localcontext(prec=3):
        assert play(workflow_of(code)).result == 28
