"""Every race of completion, timer, signal and cancellation is won by what comes first in the
history, whatever came in the same moment and however arrivals were gathered into turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import loom
from loom.authoring.activity import activity
from loom.errors import ActivityFailedError
from loom.history.events import (
    ActivityFailed,
    ArrivalEvent,
    Stamped,
    TimerFired,
    WorkflowCancelRequested,
)
from loom.history.failures import Failure
from tests.engine_harness import SimulatedRun, new_instance
from tests.properties.test_replay import closing, cut, feed, state_of
from tests.unit.workflows import Ctx, workflow_of


@activity
def work() -> str:
    return "worked"


async def activity_in_time(ctx: Ctx) -> str:
    try:
        async with asyncio.timeout(5):
            return await ctx.activity(work)
    except TimeoutError:
        return "late"


async def activity_waited_for(ctx: Ctx) -> str:
    try:
        return await asyncio.wait_for(ctx.activity(work), 5)
    except TimeoutError:
        return "late"


async def signal_in_time(ctx: Ctx) -> str:
    try:
        return str(await ctx.wait_for_signal("go", timeout=5))
    except TimeoutError:
        return "late"


async def condition_in_time(ctx: Ctx) -> str:
    got: list[Any] = []

    async def listen() -> None:
        got.append(await ctx.wait_for_signal("go"))

    listening = asyncio.create_task(listen())
    try:
        await ctx.wait_until(lambda: bool(got), timeout=5)
    except TimeoutError:
        return "late"
    finally:
        listening.cancel()
    return str(got[0])


def _tasks(ctx: Ctx) -> list[asyncio.Task[Any]]:
    return [
        asyncio.create_task(waited)
        for waited in (
            ctx.activity(work),
            ctx.wait_for_signal("go"),
            asyncio.sleep(5, "late"),
        )
    ]


async def first_of_three(ctx: Ctx) -> str:
    done, _ = await loom.wait(_tasks(ctx), return_when=asyncio.FIRST_COMPLETED)
    return str(done[0].result())


async def first_as_completed(ctx: Ctx) -> str:
    return str((await anext(loom.as_completed(_tasks(ctx)))).result())


async def first_in_a_group(ctx: Ctx) -> str:
    won: list[str] = []

    async def run(waited: asyncio.Task[Any]) -> None:
        won.append(str(await waited))
        raise StopAsyncIteration

    try:
        async with asyncio.TaskGroup() as group:
            for task in _tasks(ctx):
                group.create_task(run(task))
    except* (StopAsyncIteration, RuntimeError, ActivityFailedError) as errors:
        won.extend("failed" for e in errors.exceptions if isinstance(e, ActivityFailedError))
    return won[0]


async def signal_or_shielded_activity(ctx: Ctx) -> str:
    """The activity goes on, whatever ends the wait for it."""
    inner = asyncio.create_task(ctx.activity(work))
    try:
        async with asyncio.timeout(5):
            return await asyncio.shield(inner)
    except TimeoutError:
        return "late"


WINS = {
    "complete": "worked",
    "fail": "failed",
    "timer": "late",
    "signal": "signalled",
    "cancel": "cancelled",
}

ACTIVITY = ("complete", "fail", "timer", "cancel")
SIGNAL = ("signal", "timer", "cancel")
ALL = ("complete", "fail", "signal", "timer", "cancel")
RACES: dict[Callable[[Ctx], Awaitable[str]], tuple[str, ...]] = {
    activity_in_time: ACTIVITY,
    activity_waited_for: ACTIVITY,
    signal_in_time: SIGNAL,
    condition_in_time: SIGNAL,
    first_of_three: ALL,
    first_as_completed: ALL,
    first_in_a_group: ALL,
    signal_or_shielded_activity: ACTIVITY,
}


def raced(race: Callable[[Ctx], Awaitable[str]]) -> type:
    async def code(ctx: Ctx) -> str:
        try:
            outcome = await race(ctx)
        except ActivityFailedError:
            outcome = "failed"
        except asyncio.CancelledError:
            outcome = "cancelled"
        # What lost must not disturb what comes after, but for the cancellation: it is meant for the
        # run, so that it is heard wherever it comes.
        try:
            return f"{outcome}, then {await ctx.wait_for_signal('after')}"
        except asyncio.CancelledError:
            return f"{outcome}, then cancelled"

    return workflow_of(code)


def arrivals_of(run: SimulatedRun, order: Sequence[str]) -> list[ArrivalEvent]:
    timer = next((e.timer_id for e in run.commands if e.type == "TIMER_STARTED"), 0)  # type: ignore[attr-defined]
    made: dict[str, Callable[[], ArrivalEvent]] = {
        "complete": lambda: run.completed("work", "worked"),
        "fail": lambda: ActivityFailed(run.pending[0].activity_id, 1, Failure("Error", "no")),
        "timer": lambda: TimerFired(timer),
        "signal": lambda: run.signalled("go", "signalled"),
        "cancel": lambda: WorkflowCancelRequested("stop"),
    }
    return [*(made[kind]() for kind in order), run.signalled("after", "done")]


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
@given(st.data())
def test_the_first_in_the_history_wins(
    race: Callable[[Ctx], Awaitable[str]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(RACES[race]), label="order")
    later = "done" if order[0] == "cancel" else "cancelled"
    run = SimulatedRun(raced(race)).start()
    sent = [
        Stamped(event, run.now + number)
        for number, event in enumerate(arrivals_of(run, order), start=1)
    ]
    with closing(run.instance):
        following, _ = feed(run.instance, [[arrival] for arrival in sent])
        run.history += following
        run.check_replay()
        assert run.result == f"{WINS[order[0]]}, then {later}"
        ended = state_of(run.instance)
    places = data.draw(st.lists(st.integers(0, 8), max_size=4), label="turns")
    with closing(new_instance(run.workflow)) as again:
        started = [run.history[0], *sent]
        history, _ = feed(again, cut(started, places))
        assert history == run.history
        assert state_of(again) == ended
