"""Code that no longer asks for what was recorded is stopped, with a difference one can read."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from loom.authoring.activity import activity
from loom.errors import NonDeterministicWorkflowError
from loom.history.events import ActivityCompleted, ArrivalEvent, Stamped, TimerFired
from tests.engine_harness import EPOCH, SimulatedRun, new_instance, replayed
from tests.unit.workflows import Ctx, add, clean, fetch, workflow_of

type Code = Callable[[Ctx], Awaitable[Any]]


async def pay_then_clean(ctx: Ctx) -> None:
    await ctx.activity(add, 1)
    await ctx.activity(clean)
    await ctx.sleep(5)


def recorded(code: Code = pay_then_clean) -> SimulatedRun:
    run = SimulatedRun(workflow_of(code)).start().run(add, clean, fetch)
    run.close()
    return run


def difference(history: SimulatedRun, code: Code) -> list[str]:
    """The lines of the complaint about new code for an old history."""
    with pytest.raises(NonDeterministicWorkflowError) as caught:
        replayed(workflow_of(code), history.history)
    return str(caught.value).splitlines()


def test_the_same_code_is_accepted() -> None:
    replayed(workflow_of(pay_then_clean), recorded().history)


def test_a_removed_command_is_found() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(add, 1)
        await ctx.sleep(5)

    assert difference(recorded(), code)[:3] == [
        "The code no longer asks for what the history recorded, at command 2 (event 4):",
        "  history: ACTIVITY_SCHEDULED activity_id=2 name='clean' queue='default'",
        f"  code:    TIMER_STARTED timer_id=2 fire_at={EPOCH + 5_000_000}",
    ]


def test_the_place_in_the_code_is_named() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(add, 1)
        await ctx.activity(add, 2)

    place = difference(recorded(), code)[3]
    assert place.startswith(f"  at {__file__}:")
    assert place.endswith(" in code: await ctx.activity(add, 2)")


def test_an_added_command_is_found() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(add, 1)
        await ctx.activity(fetch, "new")
        await ctx.activity(clean)
        await ctx.sleep(5)

    lines = difference(recorded(), code)
    assert "at command 2" in lines[0]
    assert "name='clean'" in lines[1]
    assert "name='fetch'" in lines[2]


def test_a_renamed_activity_is_found() -> None:
    @activity(name="purge")
    def renamed() -> None: ...

    async def code(ctx: Ctx) -> None:
        await ctx.activity(add, 1)
        await ctx.activity(renamed)

    assert "name='purge'" in difference(recorded(), code)[2]


def test_reordered_commands_are_found() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(clean)
        await ctx.activity(add, 1)

    assert "at command 1 (event 2)" in difference(recorded(), code)[0]


def test_code_that_asks_for_less_at_the_end_is_found() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(add, 1)
        await ctx.activity(clean)

    lines = difference(recorded(), code)
    assert "TIMER_STARTED" in lines[1]
    assert lines[2] == "  code:    WORKFLOW_COMPLETED"


def test_code_that_asks_for_more_is_found_at_the_end_of_the_history() -> None:
    async def waiting(ctx: Ctx) -> None:
        await ctx.activity(add, 1)

    async def code(ctx: Ctx) -> None:
        await asyncio.gather(ctx.activity(add, 1), ctx.activity(clean))

    lines = difference(SimulatedRun(workflow_of(waiting)).start(), code)
    assert lines[0].endswith("at command 2 (the end of its history):")
    assert lines[1] == "  history: nothing more"


def test_code_that_waits_where_it_went_on_before_is_found() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.wait_for_signal("new")

    lines = difference(SimulatedRun(workflow_of(pay_then_clean)).start(), code)
    assert "name='add'" in lines[1]
    assert lines[2] == "  code:    nothing more"


def test_an_outcome_that_was_not_asked_for_is_found() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.wait_for_signal("new")
        await ctx.activity(add, 1)

    lines = difference(recorded(), code)
    assert lines[1] == "  history: ACTIVITY_COMPLETED activity_id=1 attempt=1"
    assert lines[2] == "  code:    has not asked for that when the answer arrives"


def test_a_timer_that_was_not_asked_for_is_found() -> None:
    async def sleeping(ctx: Ctx) -> None:
        await ctx.sleep(5)
        await ctx.wait_for_signal("go")

    async def code(ctx: Ctx) -> None:
        await ctx.wait_for_signal("go")
        await ctx.sleep(5)

    run = SimulatedRun(workflow_of(sleeping)).start()
    run.advance(5)
    assert "TIMER_FIRED timer_id=1" in difference(run, code)[1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda ctx: ctx.state.set("a", 1), lambda ctx: ctx.state.set("b", 1)),
        (lambda ctx: ctx.state.set("a", 1), lambda ctx: ctx.state.update(lambda s: {"a": 1})),
        (lambda ctx: ctx.state.set("a", 1), lambda ctx: ctx.sleep(1)),
        (lambda ctx: ctx.sleep(1), lambda ctx: ctx.activity(clean)),
    ],
    ids=["another key", "update for set", "sleep for set", "activity for sleep"],
)
def test_each_kind_of_command_is_told_from_the_others(before: Any, after: Any) -> None:
    async def old(ctx: Ctx) -> None:
        await before(ctx)

    async def new(ctx: Ctx) -> None:
        await after(ctx)

    assert len(difference(recorded(old), new)) >= 3


def test_another_end_is_found() -> None:
    async def old(ctx: Ctx) -> None:
        await ctx.activity(add, 1)

    async def new(ctx: Ctx) -> None:
        await ctx.activity(add, 1)
        raise ValueError("no\nmilk")

    lines = difference(recorded(old), new)
    assert lines[1:] == [
        "  history: WORKFLOW_COMPLETED",
        "  code:    WORKFLOW_FAILED failure='ValueError: no\\nmilk'",
    ]


def test_a_difference_can_be_read_by_programs() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(add, 1)
        await ctx.sleep(5)

    with pytest.raises(NonDeterministicWorkflowError) as caught:
        replayed(workflow_of(code), recorded().history)
    error = caught.value
    assert error.event == 4
    assert error.history == "ACTIVITY_SCHEDULED activity_id=2 name='clean' queue='default'"
    assert error.code == f"TIMER_STARTED timer_id=2 fire_at={EPOCH + 5_000_000}"
    assert __file__ in (error.place or "")


def test_each_arrival_is_told_before_it_is_delivered() -> None:
    run = recorded()
    told = []
    instance = new_instance(run.workflow)
    instance.replay_until_block(
        enumerate(run.history, start=1),
        on_arrival=lambda sequence, arrival: told.append((sequence, arrival, instance.now)),
    )
    arrivals = [s for s in enumerate(run.history, start=1) if isinstance(s[1].event, ArrivalEvent)]
    assert [(sequence, arrival) for sequence, arrival, _ in told] == arrivals
    assert [now for *_, now in told] == [0, *(arrival.at for _, arrival in arrivals[:-1])]


# --- what may change ---


def test_arguments_durations_and_results_may_change() -> None:
    async def code(ctx: Ctx) -> str:
        await ctx.activity(add, 1000)
        await ctx.activity(clean)
        await ctx.sleep(9999)
        return "a result now"

    replayed(workflow_of(code), recorded().history)


def test_a_recorded_timer_keeps_its_moment() -> None:
    def sleeping(seconds: float) -> Code:
        async def code(ctx: Ctx) -> None:
            await ctx.sleep(seconds)

        return code

    run = SimulatedRun(workflow_of(sleeping(60))).start()
    again = replayed(workflow_of(sleeping(5)), run.history)
    assert again.wake_at == EPOCH + 60_000_000
    again.unwind()
    run.close()


def test_where_the_commands_stand_between_the_arrivals_does_not_matter() -> None:
    run = recorded()
    arrivals = [s for s in run.history if not hasattr(s.event, "identity")]
    commands = [s for s in run.history if hasattr(s.event, "identity")]
    replayed(run.workflow, [*arrivals, *commands])


# --- how the place is found ---


def test_the_place_is_not_inside_the_standard_library() -> None:
    async def old(ctx: Ctx) -> None:
        await ctx.state.set("a", 1)

    async def new(ctx: Ctx) -> None:
        async with ctx.state.batch():
            await ctx.state.set("a", 1)

    assert " in new: async with ctx.state.batch():" in difference(recorded(old), new)[3]


def test_there_is_no_place_where_the_code_itself_is_not_running() -> None:
    async def code(ctx: Ctx) -> None:
        await asyncio.gather(ctx.activity(fetch, "x"), ctx.activity(clean))

    assert len(difference(recorded(), code)) == 3


# --- a halted run ---


def test_code_that_catches_everything_cannot_hide_a_difference() -> None:
    went_on = []

    async def code(ctx: Ctx) -> None:
        for _ in range(3):
            with contextlib.suppress(BaseException):
                await ctx.activity(fetch, "x")
                went_on.append(True)

    assert "name='fetch'" in difference(recorded(), code)[2]
    assert went_on == []


def test_except_exception_does_not_see_the_difference() -> None:
    seen = []

    async def code(ctx: Ctx) -> None:
        try:
            await ctx.activity(fetch, "x")
        except Exception as error:
            seen.append(error)

    difference(recorded(), code)
    gc.collect()
    assert seen == []


def test_a_halted_instance_has_ended_its_coroutines() -> None:
    ended = []

    async def other(ctx: Ctx) -> None:
        try:
            await ctx.wait_for_signal("never")
        finally:
            ended.append(True)

    async def code(ctx: Ctx) -> None:
        task = asyncio.create_task(other(ctx))
        await asyncio.sleep(0)
        await ctx.activity(fetch, "x")
        await task

    difference(recorded(), code)
    assert ended == [True]


def test_a_replayed_instance_goes_on_with_ids_of_its_own() -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(add, 1)
        await ctx.sleep(1)
        await ctx.activity(clean)

    run = SimulatedRun(workflow_of(code)).start()
    run.complete("add", 1)
    again = replayed(run.workflow, run.history)
    assert again.take_due(run.now + 1_000_000) == [TimerFired(2)]
    decision = again.activate([Stamped(TimerFired(2), run.now + 1_000_000)])
    assert [stamped.event.type for stamped in decision.events] == [
        "TIMER_FIRED",
        "ACTIVITY_SCHEDULED",
    ]
    decision = again.activate(
        [Stamped(ActivityCompleted(3, 1, run.converter.encode(None)), run.now + 2_000_000)]
    )
    assert not decision.status.is_open
    run.close()
