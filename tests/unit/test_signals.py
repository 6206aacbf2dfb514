"""Signals: none is lost, none is given out twice, and each name keeps its order."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any, TypedDict

import pytest

from loom.engine.signals import SignalBox
from loom.errors import PayloadError
from loom.history.events import TimerFired
from tests.engine_harness import Play, SimulatedRun
from tests.unit.workflows import Ctx, clean, workflow_of


class Approval(TypedDict):
    by: str


def test_a_signal_that_came_early_is_waiting(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        await ctx.activity(clean)
        return [await ctx.wait_for_signal("go"), await ctx.wait_for_signal("go")]

    run = play(workflow_of(code))
    run.signal("go", 1)
    run.signal("go", 2)
    run.complete("clean")
    assert run.result == [1, 2]


def test_waiters_are_served_in_the_order_of_asking(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        return await asyncio.gather(*(ctx.wait_for_signal("go") for _ in range(3)))

    run = play(workflow_of(code))
    run.deliver(*(run.signalled("go", n) for n in range(3)))
    assert run.result == [0, 1, 2]


def test_names_do_not_mix(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        return [await ctx.wait_for_signal("b"), await ctx.wait_for_signal("a")]

    run = play(workflow_of(code))
    run.signal("a", 1)
    run.signal("b", 2)
    assert run.result == [2, 1]


def test_a_payload_is_read_as_the_asked_type(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        approval = await ctx.wait_for_signal("approved", type=Approval)
        return approval["by"]

    run = play(workflow_of(code))
    run.signal("approved", {"by": "Ada"})
    assert run.result == "Ada"


async def _counting(ctx: Ctx) -> list[int]:
    return [await ctx.wait_for_signal("count", type=int, timeout=60) for _ in range(2)]


def test_a_payload_of_another_type_is_passed_over_with_an_error_in_the_log(play: Play) -> None:
    run = play(workflow_of(_counting))
    run.signal("count", "many")
    assert run.status.is_open
    run.signal("count", 3)
    run.deliver(run.signalled("count", None), run.signalled("count", 4))
    assert run.result == [3, 4]
    assert [(line.level, line.message.partition(" declared")[0]) for line in run.logs] == [
        (logging.ERROR, "The signal 'count' was dropped: The payload of signal 'count'")
    ] * 2
    run.check_replay()


def test_what_does_not_fit_does_not_prolong_the_wait(play: Play) -> None:
    run = play(workflow_of(_counting))
    run.advance(50)
    run.signal("count", "many")
    run.advance(10)
    assert run.failure.message.endswith("no signal 'count' came within 60 s.")
    assert run.types.count("TIMER_STARTED") == 1
    run.check_replay()


def test_what_is_there_already_and_does_not_fit_starts_no_timer(play: Play) -> None:
    async def code(ctx: Ctx) -> int:
        await ctx.activity(clean)
        return await ctx.wait_for_signal("count", type=int, timeout=60)

    run = play(workflow_of(code))
    for value in ("many", "more", 3):
        run.signal("count", value)
    run.complete("clean")
    assert run.result == 3
    assert "TIMER_STARTED" not in run.types
    assert len(run.logs) == 2
    run.check_replay()


@pytest.mark.parametrize("flags", [(), ("signal-before-timer",)])
def test_a_run_from_before_is_told_of_a_payload_of_another_type(flags: tuple[str, ...]) -> None:
    async def code(ctx: Ctx) -> int:
        with pytest.raises(PayloadError, match="declared as int cannot be read"):
            await ctx.wait_for_signal("count", type=int)
        return await ctx.wait_for_signal("count", type=int)

    run = SimulatedRun(workflow_of(code), flags=flags).start()
    run.signal("count", "many")
    run.signal("count", 3)
    assert run.result == 3
    run.check_replay()


@pytest.mark.parametrize("timeout", [5, 5.0, timedelta(seconds=5)])
def test_a_wait_ends_with_its_timeout(play: Play, timeout: Any) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            await ctx.wait_for_signal("go", timeout=timeout)
        except TimeoutError:
            return "late"
        return "in time"

    late = play(workflow_of(code))
    late.advance(5)
    assert late.result == "late"
    early = play(workflow_of(code))
    early.advance(4.9)
    early.signal("go")
    assert early.result == "in time"
    assert early.types[-2:] == ["TIMER_CANCELLED", "WORKFLOW_COMPLETED"]


def test_without_time_to_wait_only_a_waiting_signal_is_taken(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        await ctx.activity(clean)
        taken = [await ctx.wait_for_signal("go", timeout=0)]
        with pytest.raises(TimeoutError):
            await ctx.wait_for_signal("go", timeout=0)
        return taken

    run = play(workflow_of(code))
    run.signal("go", 1)
    run.complete("clean")
    assert run.result == [1]
    assert "TIMER_STARTED" not in run.types


def test_a_signal_after_the_timeout_goes_to_the_next_who_asks(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        with pytest.raises(TimeoutError):
            await ctx.wait_for_signal("go", timeout=1)
        await ctx.activity(clean)
        return await ctx.wait_for_signal("go")

    run = play(workflow_of(code))
    run.advance(1)
    run.signal("go", "kept")
    run.complete("clean")
    assert run.result == "kept"


def test_timer_and_signal_in_one_turn_count_in_their_order(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        try:
            first = await ctx.wait_for_signal("go", timeout=1)
        except TimeoutError:
            first = "late"
        return [first, await ctx.wait_for_signal("go")]

    late, early = play(workflow_of(code)), play(workflow_of(code))
    late.deliver(TimerFired(1), late.signalled("go", 1))
    assert late.result == ["late", 1]
    early.deliver(early.signalled("go", 1), TimerFired(1), early.signalled("go", 2))
    assert early.result == [1, 2]
    assert "TIMER_FIRED" not in early.types


def test_a_signal_put_back_comes_before_those_that_came_later() -> None:
    """Between the hand-over and the waiter's next step, the waiter is cancelled."""

    async def scenario() -> list[bytes]:
        box = SignalBox(asyncio.get_running_loop().create_future)
        waiter = asyncio.create_task(box.get("go"))
        await asyncio.sleep(0)
        box.put("go", b"1")
        box.put("go", b"2")
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        return [await box.get("go"), await box.get("go")]

    assert asyncio.run(scenario()) == [b"1", b"2"]


def test_a_signal_put_back_goes_to_whoever_waits_now() -> None:
    async def scenario() -> bytes:
        box = SignalBox(asyncio.get_running_loop().create_future)
        first = asyncio.create_task(box.get("go"))
        await asyncio.sleep(0)
        box.put("go", b"1")
        second = asyncio.create_task(box.get("go"))
        first.cancel()
        return await second

    assert asyncio.run(scenario()) == b"1"


def test_waits_that_timed_out_leave_nothing_behind(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        for number in range(50):
            with pytest.raises(TimeoutError):
                await ctx.wait_for_signal("go", timeout=1)
            with pytest.raises(TimeoutError):
                await ctx.wait_for_signal(f"reply-{number}", timeout=1)
        await ctx.activity(clean)

    run = play(workflow_of(code))
    run.advance(100)
    assert [scheduled.name for scheduled in run.pending] == ["clean"]
    assert run.instance._signals._waiters == {}
    run.signal("reply", 1)
    run.complete("clean")
