"""``ctx.wait_until``: conditions are looked at in order, and hold for those who go on."""

from __future__ import annotations

import asyncio
import contextvars
from datetime import timedelta
from typing import Any

import pytest

from loom.authoring.activity import activity
from loom.engine import loop
from loom.errors import LoomError, NonDeterministicWorkflowError
from loom.history.events import TimerFired
from tests.engine_harness import Play, replayed
from tests.unit.workflows import Ctx, add, clean, workflow_of


def test_it_waits_until_the_condition_holds(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        got: list[Any] = []

        async def listen() -> None:
            while True:
                got.append(await ctx.wait_for_signal("go"))

        listening = asyncio.create_task(listen())
        await ctx.wait_until(lambda: len(got) >= 3)
        listening.cancel()
        return got

    run = play(workflow_of(code))
    for number in range(3):
        assert run.status.is_open
        run.signal("go", number)
    assert run.result == [0, 1, 2]


def test_it_is_no_command_and_costs_no_event(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        done: list[int] = []
        asking = asyncio.create_task(ctx.activity(clean))
        asking.add_done_callback(lambda task: done.append(1))
        await ctx.wait_until(lambda: bool(done))

    run = play(workflow_of(code)).run(clean)
    assert run.types == [
        "WORKFLOW_STARTED",
        "ACTIVITY_SCHEDULED",
        "ACTIVITY_COMPLETED",
        "WORKFLOW_COMPLETED",
    ]


def test_a_condition_that_holds_already_returns_at_once(play: Play) -> None:
    async def code(ctx: Ctx) -> list[str]:
        trace: list[str] = []
        asyncio.get_running_loop().call_soon(trace.append, "others")
        await ctx.wait_until(lambda: True, timeout=60)
        return [*trace, "on"]

    run = play(workflow_of(code))
    assert run.result == ["on"]
    assert "TIMER_STARTED" not in run.types


def test_conditions_are_looked_at_in_the_order_of_asking(play: Play) -> None:
    async def code(ctx: Ctx) -> list[int]:
        open_, trace = asyncio.Event(), []

        async def wait(number: int) -> None:
            await ctx.wait_until(open_.is_set)
            trace.append(number)

        waiting = [asyncio.create_task(wait(number)) for number in range(20)]
        await ctx.activity(clean)
        open_.set()
        await asyncio.gather(*waiting)
        return trace

    assert play(workflow_of(code)).run(clean).result == list(range(20))


def test_what_was_waited_for_still_holds_for_whoever_goes_on(play: Play) -> None:
    """Two may see the same free place; only one of them finds it free."""

    async def code(ctx: Ctx) -> int:
        free = at_most = 2

        async def one(number: int) -> None:
            nonlocal free, at_most
            await ctx.wait_until(lambda: free > 0)
            free -= 1
            at_most = min(at_most, free)
            await ctx.activity(add, number)
            free += 1

        await asyncio.gather(*map(one, range(10)))
        return at_most

    run = play(workflow_of(code))
    assert len(run.pending) == 2
    assert run.run(add).result == 0


def test_one_who_goes_on_may_let_those_before_go_on(play: Play) -> None:
    async def code(ctx: Ctx) -> list[str]:
        trace: list[str] = []

        async def first() -> None:
            await ctx.wait_until(lambda: "second" in trace)
            trace.append("first")

        async def second() -> None:
            await ctx.wait_until(lambda: "begin" in trace)
            trace.append("second")

        both = asyncio.gather(first(), second())
        await ctx.activity(clean)
        trace.append("begin")
        await both
        return trace

    assert play(workflow_of(code)).run(clean).result == ["begin", "second", "first"]


def test_a_condition_that_raises_fails_its_own_waiter_alone(play: Play) -> None:
    async def code(ctx: Ctx) -> list[str]:
        answers: dict[str, int] = {}
        both = asyncio.gather(
            ctx.wait_until(lambda: "ready" in answers and answers["missing"] > 0),
            ctx.wait_until(lambda: "ready" in answers),
            return_exceptions=True,
        )
        await ctx.activity(clean)
        answers["ready"] = 1
        return [repr(outcome) for outcome in await both]

    assert play(workflow_of(code)).run(clean).result == ["KeyError('missing')", "None"]


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(3), asyncio.CancelledError()])
def test_whatever_a_condition_raises_reaches_the_waiter(play: Play, error: BaseException) -> None:
    async def code(ctx: Ctx) -> str:
        ready: list[int] = []

        def condition() -> bool:
            if ready:
                raise error
            return False

        async def waiting() -> None:
            try:
                await ctx.wait_until(condition)
            except BaseException as raised:
                ready.append(2)
                ready.append(int(raised is error or raised.__cause__ is error))

        task = asyncio.create_task(waiting())
        await ctx.activity(clean)
        ready.append(1)
        await asyncio.wait([task])
        return str(ready)

    assert play(workflow_of(code)).run(clean).result == "[1, 2, 1]"


def test_an_async_condition_is_refused(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        async def condition() -> bool:
            return True

        await ctx.wait_until(condition)  # type: ignore[arg-type]

    failure = play(workflow_of(code)).failure
    assert failure.type == "TypeError"
    assert "takes a plain function" in failure.message


def test_a_condition_sees_the_context_of_who_asks(play: Play) -> None:
    place = contextvars.ContextVar("place", default="nowhere")

    async def code(ctx: Ctx) -> list[str]:
        seen: list[str] = []

        def condition() -> bool:
            seen.append(place.get())
            return len(seen) > 4

        async def wait(name: str) -> None:
            place.set(name)
            await ctx.wait_until(condition)

        await asyncio.gather(wait("here"), wait("there"), ctx.activity(clean))
        return sorted(set(seen))

    run = play(workflow_of(code))
    run.signal("nudge")
    assert run.run(clean).result == ["here", "there"]


@activity
def list_all() -> None: ...


# --- timeouts ---


@pytest.mark.parametrize("timeout", [5, 5.0, timedelta(seconds=5)])
def test_a_wait_ends_with_its_timeout(play: Play, timeout: Any) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            await ctx.wait_until(lambda: False, timeout=timeout)
        except TimeoutError:
            return "late"
        return "in time"

    run = play(workflow_of(code))
    run.advance(4.9)
    assert run.status.is_open
    run.advance(0.1)
    assert run.result == "late"


@pytest.mark.parametrize("timeout", [0, -1])
def test_without_time_to_wait_it_looks_once_more(play: Play, timeout: float) -> None:
    async def code(ctx: Ctx) -> list[str]:
        trace: list[str] = []
        for ready in (False, True):
            if ready:
                asyncio.get_running_loop().call_soon(trace.append, "ready")
            try:
                await ctx.wait_until(lambda: "ready" in trace, timeout=timeout)
            except TimeoutError:
                trace.append("late")
        return trace

    run = play(workflow_of(code))
    assert run.result == ["late", "ready"]
    assert "TIMER_STARTED" not in run.types


def test_a_condition_that_holds_in_the_moment_of_the_timeout_holds(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        start = ctx.now()
        await ctx.wait_until(lambda: ctx.now() - start >= timedelta(seconds=5), timeout=5)
        return "it holds"

    run = play(workflow_of(code))
    run.advance(5)
    assert run.result == "it holds"


@pytest.mark.parametrize("first", ["signal", "timer"])
def test_what_arrives_first_decides_even_in_one_turn(play: Play, first: str) -> None:
    async def code(ctx: Ctx) -> str:
        got: list[Any] = []

        async def listen() -> None:
            got.append(await ctx.wait_for_signal("go"))

        listening = asyncio.create_task(listen())
        try:
            await ctx.wait_until(lambda: bool(got), timeout=5)
        except TimeoutError:
            return "late"
        await listening
        return "in time"

    run = play(workflow_of(code))
    arrivals = [run.signalled("go", 1), TimerFired(1)]
    run.deliver(*(arrivals if first == "signal" else reversed(arrivals)))
    assert run.result == ("in time" if first == "signal" else "late")


def test_a_wait_can_be_cancelled_and_leaves_nothing_behind(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        for _ in range(50):
            with pytest.raises(TimeoutError):
                await ctx.wait_until(lambda: False, timeout=1)
        try:
            await ctx.wait_until(lambda: False)
        except asyncio.CancelledError:
            await ctx.activity(clean)
        return "cleaned"

    run = play(workflow_of(code))
    run.advance(50)
    assert len(run.instance._conditions) == 1
    run.cancel()
    assert len(run.instance._conditions) == 0
    assert run.run(clean).result == "cleaned"


def test_a_condition_may_end_another_s_wait(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        def condition() -> bool:
            return second.cancel()

        async def forever() -> None:
            await ctx.wait_until(lambda: False)

        second = asyncio.create_task(forever())
        first = asyncio.create_task(ctx.wait_until(lambda: second.done()))
        await asyncio.sleep(0)
        # It is looked at after the others have been asked for.
        await ctx.wait_until(condition)
        await first
        return "ended"

    assert play(workflow_of(code)).result == "ended"


def test_conditions_that_let_each_other_go_on_for_ever_are_spinning(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MAX_CALLBACKS", 1000)

    async def code(ctx: Ctx) -> None:
        turn = [0]

        async def one(mine: int) -> None:
            def my_turn() -> bool:
                return turn[0] == mine

            while True:
                await ctx.wait_until(my_turn)
                turn[0] = 1 - mine

        await ctx.activity(clean)
        await asyncio.gather(one(0), one(1))

    run = play(workflow_of(code))
    with pytest.raises(LoomError, match="spinning"):
        run.deliver(run.completed("clean"))
    run.instance = run.replay()


def test_what_a_condition_asks_for_is_matched_as_ever(play: Play) -> None:
    """A condition had better not, but replay finds it out when it changes."""

    def asking(other: Any) -> Any:
        async def code(ctx: Ctx) -> None:
            asked: list[asyncio.Future[Any]] = []

            def condition() -> bool:
                if not asked:
                    asked.append(asyncio.create_task(ctx.activity(other)))
                return asked[0].done()

            await ctx.wait_until(condition)

        return code

    run = play(workflow_of(asking(clean)))
    run.complete("clean")
    assert run.types[-1] == "WORKFLOW_COMPLETED"
    with pytest.raises(NonDeterministicWorkflowError, match="list_all"):
        replayed(workflow_of(asking(list_all)), run.history)
