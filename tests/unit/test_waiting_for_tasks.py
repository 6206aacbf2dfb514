"""``loom.wait`` and ``loom.as_completed``: asyncio's own, in an order that is known."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest

import loom
from loom.errors import ActivityFailedError
from loom.history.events import ActivityCompleted, ActivityScheduled, TimerFired
from tests.engine_harness import Play, SimulatedRun
from tests.unit.workflows import Ctx, add, clean, fetch, workflow_of

COUNT = 40


def tasks_of(ctx: Ctx, count: int = COUNT) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(ctx.activity(add, number)) for number in range(count)]


def completions(run: SimulatedRun, *numbers: int) -> list[ActivityCompleted]:
    """Of the first, second, ... of the activities that the run asked for."""
    asked = [event.activity_id for event in run.commands if isinstance(event, ActivityScheduled)]
    return [ActivityCompleted(asked[n - 1], 1, run.converter.encode(n * 10)) for n in numbers]


# --- wait ---


def test_wait_gives_lists_in_the_order_given(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        tasks = tasks_of(ctx)
        done, pending = await loom.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert pending == [task for task in tasks if task not in done]
        for task in pending:
            task.cancel()
        return [task.result() for task in done]

    run = play(workflow_of(code))
    run.deliver(*completions(run, 17))
    assert run.result == [170]
    cancelled = [e.activity_id for e in run.commands if e.type == "ACTIVITY_CANCEL_REQUESTED"]  # type: ignore[attr-defined]
    assert cancelled == [n for n in range(1, COUNT + 1) if n != 17]


def test_wait_for_all_waits_for_all(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        tasks = tasks_of(ctx, 3)
        done, pending = await loom.wait([*tasks, tasks[0]])
        return [done == tasks, pending, [task.result() for task in done]]

    run = play(workflow_of(code))
    run.deliver(*completions(run, 3, 1))
    assert run.status.is_open
    run.deliver(*completions(run, 2))
    assert run.result == [True, [], [10, 20, 30]]


def test_wait_for_the_first_exception_goes_on_at_a_failure(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        tasks = tasks_of(ctx, 2)
        tasks.append(asyncio.create_task(ctx.activity(fetch, "x")))  # type: ignore[arg-type]
        done, pending = await loom.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        return [tasks.index(task) for task in done], [tasks.index(task) for task in pending]

    run = play(workflow_of(code))
    run.deliver(*completions(run, 1))
    run.fail("fetch")
    assert run.result == ([0, 2], [1])


@pytest.mark.parametrize("timeout", [5, timedelta(seconds=5)])
def test_wait_ends_with_its_timeout_and_cancels_nothing(play: Play, timeout: Any) -> None:
    async def code(ctx: Ctx) -> Any:
        done, pending = await loom.wait(tasks_of(ctx, 2), timeout=timeout)
        late = await asyncio.gather(*pending)
        return [task.result() for task in done], late

    run = play(workflow_of(code))
    run.deliver(*completions(run, 2))
    run.advance(5)
    run.deliver(*completions(run, 1))
    assert run.result == ([20], [10])
    assert "ACTIVITY_CANCEL_REQUESTED" not in run.types


def test_wait_without_time_looks_at_what_is_done_and_starts_no_timer(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        tasks = tasks_of(ctx, 2)
        await ctx.activity(clean)
        done, pending = await loom.wait(tasks, timeout=0)
        return len(done), len(pending), await loom.wait([])

    run = play(workflow_of(code))
    run.deliver(*completions(run, 2))
    run.complete("clean")
    assert run.result == (1, 1, [[], []])
    assert "TIMER_STARTED" not in run.types


def test_a_wait_that_is_cancelled_leaves_its_tasks_alone(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        tasks = tasks_of(ctx, 2)
        try:
            await loom.wait(tasks)
        except asyncio.CancelledError:
            return await asyncio.gather(*tasks)

    run = play(workflow_of(code))
    run.cancel()
    run.deliver(*completions(run, 2, 1))
    assert run.result == [10, 20]


@pytest.mark.parametrize("bad", ["coroutine", "one task", "nothing to wait for"])
async def test_wait_refuses_what_is_no_task(bad: str) -> None:
    async def nothing() -> None: ...

    coroutine = nothing()
    task = asyncio.ensure_future(nothing())
    given: Any = {"coroutine": [coroutine], "one task": task}.get(bad, [5])
    with pytest.raises(TypeError, match=r"loom\.wait\(\) takes"):
        await loom.wait(given)
    coroutine.close()
    await task


# --- as_completed ---


def test_as_completed_gives_tasks_in_the_order_in_which_they_end(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        tasks = tasks_of(ctx, 4)
        return [(tasks.index(task), await task) async for task in loom.as_completed(tasks)]  # type: ignore[arg-type]

    run = play(workflow_of(code))
    run.deliver(*completions(run, 3))
    run.deliver(*completions(run, 1, 4, 2))
    assert run.result == [[2, 30], [0, 10], [3, 40], [1, 20]]


def test_as_completed_starts_coroutines_in_the_order_given(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        asked = [ctx.activity(add, number) for number in range(COUNT)]
        results = [await next_one for next_one in loom.as_completed([*asked, asked[3]])]
        return results == [10 * (number + 1) for number in reversed(range(COUNT))]

    run = play(workflow_of(code))
    numbers = [
        run.converter.decode(e.payload)["a"]
        for e in run.commands
        if isinstance(e, ActivityScheduled)
    ]
    assert numbers == list(range(COUNT))
    run.deliver(*completions(run, *range(COUNT, 0, -1)))
    assert run.result is True


def test_as_completed_gives_failures_like_results(play: Play) -> None:
    async def code(ctx: Ctx) -> list[str]:
        trace = []
        async for task in loom.as_completed([ctx.activity(fetch, "x"), ctx.activity(fetch, "y")]):
            try:
                trace.append(await task)
            except ActivityFailedError as error:
                trace.append(type(error).__name__)
        return trace

    run = play(workflow_of(code))
    run.fail("fetch")
    run.complete("fetch", "Y")
    assert run.result == ["ActivityFailedError", "Y"]


def test_as_completed_raises_when_the_time_is_over_and_cancels_nothing(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        tasks, seen = tasks_of(ctx, 3), []
        try:
            async for task in loom.as_completed(tasks, timeout=5):
                seen.append(await task)
                if len(seen) == 1:
                    await ctx.activity(clean)
        except TimeoutError:
            seen.append(-1)
        return [*seen, *await asyncio.gather(*tasks)]

    run = play(workflow_of(code))
    run.deliver(*completions(run, 3, 2))
    run.advance(5)
    run.complete("clean")
    run.deliver(*completions(run, 1))
    assert run.result == [30, 20, -1, 10, 20, 30]


def test_as_completed_needs_its_timer_until_the_last_has_ended(play: Play) -> None:
    async def code(ctx: Ctx) -> int:
        total = 0
        async for task in loom.as_completed(tasks_of(ctx, 2), timeout=timedelta(minutes=1)):
            total += await task
        await ctx.activity(clean)
        return total

    run = play(workflow_of(code))
    run.deliver(*completions(run, 1))
    assert run.instance.wake_at is not None
    run.deliver(*completions(run, 2), TimerFired(1))
    assert run.instance.wake_at is None
    run.complete("clean")
    assert run.result == 30
    assert "TIMER_FIRED" not in run.types


def test_as_completed_without_time_gives_what_is_done(play: Play) -> None:
    async def code(ctx: Ctx) -> list[int]:
        tasks = tasks_of(ctx, 2)
        await ctx.activity(clean)
        ended = loom.as_completed(tasks, timeout=0)
        seen = [await anext(ended)]
        with pytest.raises(TimeoutError):
            await anext(ended)
        return [await task for task in seen]

    run = play(workflow_of(code))
    run.deliver(*completions(run, 2))
    run.complete("clean")
    assert run.result == [20]
    assert "TIMER_STARTED" not in run.types


def test_results_may_be_awaited_side_by_side(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        return await asyncio.gather(*loom.as_completed(tasks_of(ctx, 3)))

    run = play(workflow_of(code))
    run.deliver(*completions(run, 2, 3, 1))
    assert run.result == [20, 30, 10]


def test_nothing_is_complete_at_once(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        return [task async for task in loom.as_completed([], timeout=60)]

    assert play(workflow_of(code)).result == []


# --- outside of workflows ---


async def after(seconds: float, value: int) -> int:
    await asyncio.sleep(seconds)
    return value


def coroutines() -> list[Coroutine[Any, Any, int]]:
    return [after(seconds, number) for number, seconds in enumerate((0.02, 0, 0.01))]


async def test_both_work_on_any_event_loop() -> None:
    assert [await task async for task in loom.as_completed(coroutines())] == [1, 2, 0]
    assert [await one for one in loom.as_completed(coroutines(), timeout=30)] == [1, 2, 0]
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines()]
    done, pending = await loom.wait(tasks, timeout=30)
    assert (done, pending) == (tasks, [])


async def test_a_single_task_is_refused_by_as_completed() -> None:
    task = asyncio.create_task(after(0, 1))
    with pytest.raises(TypeError, match="takes several awaitables"):
        loom.as_completed(task)  # type: ignore[arg-type]
    await task
