"""Sagas: what was done is undone in reverse, whatever comes in between."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any

import pytest

from loom.authoring.activity import activity
from loom.errors import (
    ActivityFailedError,
    CompensationFailedError,
    LoomError,
    NonDeterministicWorkflowError,
)
from loom.history.events import (
    ActivityScheduled,
    CompensationRegistered,
    WorkflowCancelled,
)
from loom.history.status import RunStatus
from tests.engine_harness import Play, SimulatedRun, replayed
from tests.unit.workflows import Ctx, add, clean, workflow_of


@activity
def book(what: str) -> str:
    return f"{what}-1"


@activity
def release(booking: str, *, reason: str = "") -> None: ...


def arguments_of(run: SimulatedRun, name: str, kind: Any = ActivityScheduled) -> list[Any]:
    return [
        run.converter.decode(event.payload)
        for event in run.commands
        if isinstance(event, kind) and event.name == name
    ]


async def trip(ctx: Ctx) -> str:
    async with ctx.saga() as saga:
        for what in ("flight", "hotel", "car"):
            booking = await ctx.activity(book, what)
            saga.compensate(release, booking, reason="trip failed")
        await ctx.activity(add, 1)
    return "booked"


def booked(play: Play, code: Any = trip) -> SimulatedRun:
    """A run that has booked three things and waits for the last step."""
    run = play(workflow_of(code))
    for what in ("flight", "hotel", "car"):
        run.complete("book", f"{what}-1")
    return run


RELEASED = [
    {"booking": f"{what}-1", "reason": "trip failed"} for what in ("car", "hotel", "flight")
]


def test_a_failure_undoes_in_reverse_what_was_done(play: Play) -> None:
    run = booked(play)
    run.fail("add", ValueError("full"))
    for _ in range(3):
        assert len(run.pending) == 1
        run.complete("release")
    assert arguments_of(run, "release") == RELEASED
    assert run.failure.type == "loom.errors.ActivityFailedError"
    assert "full" in run.failure.message


def test_a_saga_that_succeeds_undoes_nothing(play: Play) -> None:
    run = booked(play)
    run.complete("add", 1)
    assert run.result == "booked"
    assert arguments_of(run, "release") == []


def test_what_would_be_undone_is_in_the_history(play: Play) -> None:
    run = booked(play)
    registered = arguments_of(run, "release", CompensationRegistered)
    assert registered == list(reversed(RELEASED))
    assert run.types[:5] == [
        "WORKFLOW_STARTED",
        "ACTIVITY_SCHEDULED",
        "ACTIVITY_COMPLETED",
        "COMPENSATION_REGISTERED",
        "ACTIVITY_SCHEDULED",
    ]


def test_a_cancellation_undoes_it_too(play: Play) -> None:
    run = booked(play)
    run.cancel("no longer wanted")
    for _ in range(3):
        run.complete("release")
    assert arguments_of(run, "release") == RELEASED
    assert run.events[-1] == WorkflowCancelled("no longer wanted")


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_undoing_goes_on_after_a_replay_where_it_was(play: Play, done: int) -> None:
    run = booked(play)
    run.fail("add")
    for _ in range(done):
        run.complete("release")
    run.instance.unwind()
    run.instance = run.replay()
    for _ in range(3 - done):
        run.complete("release")
    assert arguments_of(run, "release") == RELEASED
    assert run.status is RunStatus.FAILED


def test_what_is_registered_before_its_step_is_undone_though_the_step_failed(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        async with ctx.saga() as saga:
            saga.compensate(release, "seat")
            await ctx.activity(book, "seat")

    run = play(workflow_of(code))
    run.fail("book")
    run.complete("release")
    assert arguments_of(run, "release") == [{"booking": "seat"}]


def test_the_code_may_catch_the_failure_and_go_on(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        for what in ("dear", "cheap"):
            try:
                async with ctx.saga() as saga:
                    saga.compensate(release, what)
                    return await ctx.activity(book, what)
            except ActivityFailedError:
                continue
        return None

    run = play(workflow_of(code))
    run.fail("book")
    run.complete("release")
    run.complete("book", "cheap-1")
    assert run.result == "cheap-1"
    assert arguments_of(run, "release") == [{"booking": "dear"}]


def test_what_a_compensation_gets_is_what_it_was_registered_with(play: Play) -> None:
    @activity
    def unpack(items: list[str]) -> None: ...

    async def code(ctx: Ctx) -> None:
        items = ["ink"]
        async with ctx.saga() as saga:
            saga.compensate(unpack, items)
            items.append("paper")
            await ctx.activity(clean)

    run = play(workflow_of(code))
    run.fail("clean")
    assert arguments_of(run, "unpack") == [{"items": ["ink"]}]


# --- failures while undoing ---


def failing_undo(on_error: Any) -> Callable[[Ctx], Any]:
    async def code(ctx: Ctx) -> list[Any]:
        try:
            async with ctx.saga(on_error=on_error) as saga:
                for what in ("flight", "hotel", "car"):
                    saga.compensate(release, what)
                await ctx.activity(add, 1)
        except* ActivityFailedError as group:
            told = group
        cause = told.__cause__
        return [type(told).__name__, str(told), len(told.exceptions), type(cause).__name__]

    return code


def test_all_compensations_are_tried_though_some_fail(play: Play) -> None:
    run = play(workflow_of(failing_undo("continue")))
    run.fail("add")
    run.fail("release", OSError("stuck"))
    run.complete("release")
    run.fail("release", OSError("gone"))
    kind, message, count, cause = run.result
    assert (kind, count, cause) == ("CompensationFailedError", 2, "ActivityFailedError")
    assert message.startswith("2 of 3 compensations failed: Activity 'release' was tried once")
    assert "stuck" in message
    assert "gone" in message


def test_the_rest_is_left_when_a_failure_shall_stop_it(play: Play) -> None:
    run = play(workflow_of(failing_undo("stop")))
    run.fail("add")
    run.complete("release")
    run.fail("release")
    kind, message, count, _ = run.result
    assert (kind, count) == ("CompensationFailedError", 1)
    assert message.startswith("1 of 3 compensations failed, and 1 were not run:")
    assert len(arguments_of(run, "release")) == 2


def test_a_run_whose_undoing_fails_fails_though_it_was_cancelled(play: Play) -> None:
    run = booked(play)
    run.cancel()
    run.complete("release")
    run.fail("release")
    run.complete("release")
    assert run.failure.type == "loom.errors.CompensationFailedError"
    assert "1 of 3" in run.failure.message


def test_failed_compensations_are_both_a_group_and_an_error_of_loom() -> None:
    error = CompensationFailedError("1 of 1 compensations failed", [ValueError("no")])
    assert isinstance(error, LoomError)
    matching, rest = error.split(ValueError)
    assert isinstance(matching, CompensationFailedError)
    assert rest is None


# --- cancellation while undoing ---


def test_a_cancellation_does_not_keep_it_from_being_undone(play: Play) -> None:
    run = booked(play)
    run.fail("add")
    run.complete("release")
    run.cancel("hurry up")
    assert "ACTIVITY_CANCEL_REQUESTED" not in run.types
    run.complete("release")
    run.complete("release")
    assert arguments_of(run, "release") == RELEASED
    assert run.events[-1] == WorkflowCancelled("hurry up")


def test_a_timeout_waits_until_it_is_undone(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            async with asyncio.timeout(10):
                return await trip(ctx)
        except TimeoutError:
            return "too late"

    run = booked(play, code)
    run.advance(9)
    run.fail("add")
    run.advance(5)
    for _ in range(3):
        assert run.status.is_open
        run.complete("release")
    assert run.result == "too late"


def test_a_timeout_that_ends_the_block_is_undone_and_stays_a_timeout(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            async with asyncio.timeout(10):
                return await trip(ctx)
        except TimeoutError:
            return "too late"

    run = booked(play, code)
    run.advance(10)
    run.cancel("and cancelled")
    for _ in range(3):
        run.complete("release")
    assert run.status is RunStatus.CANCELLED
    other = booked(play, code)
    other.advance(10)
    for _ in range(3):
        other.complete("release")
    assert other.result == "too late"


def test_a_task_group_waits_until_it_is_undone(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(trip(ctx))
                group.create_task(ctx.activity(clean))
        except* ActivityFailedError:
            outcome = "failed"
        return outcome

    run = booked(play, code)
    run.fail("clean")
    for _ in range(3):
        assert run.status.is_open
        run.complete("release")
    assert run.result == "failed"
    assert arguments_of(run, "release") == RELEASED


def test_a_terminated_run_undoes_nothing(play: Play) -> None:
    run = booked(play)
    run.terminate()
    assert run.status is RunStatus.TERMINATED
    assert arguments_of(run, "release") == []


def test_a_run_that_is_let_go_undoes_nothing(play: Play) -> None:
    run = booked(play)
    again = run.replay()
    again.unwind()
    run.instance.unwind()
    run.instance = run.replay()
    run.complete("add", 1)
    assert run.result == "booked"


# --- how sagas are put together ---


def test_steps_may_run_side_by_side(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        async with ctx.saga() as saga:

            async def step(what: str) -> None:
                saga.compensate(release, await ctx.activity(book, what))

            async with asyncio.TaskGroup() as group:
                for what in ("flight", "hotel", "car"):
                    group.create_task(step(what))
            await ctx.activity(add, 1)

    run = play(workflow_of(code))
    for number, what in ((2, "hotel"), (1, "car"), (0, "flight")):
        run.complete("book", f"{what}-{number}")
    run.fail("add")
    for _ in range(3):
        run.complete("release")
    undone = [call["booking"] for call in arguments_of(run, "release")]
    assert undone == ["flight-0", "car-1", "hotel-2"]


def test_an_inner_saga_that_succeeded_is_not_undone_by_the_outer_one(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        async with ctx.saga() as outer:
            outer.compensate(release, "outer")
            async with ctx.saga() as inner:
                inner.compensate(release, "inner")
                await ctx.activity(clean)
            await ctx.activity(add, 1)

    run = play(workflow_of(code))
    run.complete("clean")
    run.fail("add")
    run.complete("release")
    assert arguments_of(run, "release") == [{"booking": "outer"}]


def test_nested_sagas_are_undone_from_the_inside(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        async with ctx.saga() as outer:
            outer.compensate(release, "outer")
            async with ctx.saga() as inner:
                inner.compensate(release, "inner")
                await ctx.activity(clean)

    run = play(workflow_of(code))
    run.fail("clean")
    run.complete("release")
    run.complete("release")
    assert arguments_of(run, "release") == [{"booking": "inner"}, {"booking": "outer"}]


@pytest.mark.parametrize("ending", ["exit", "return", "break"])
def test_how_the_block_is_left_decides(play: Play, ending: str) -> None:
    async def code(ctx: Ctx) -> str:
        for _ in range(2):
            async with ctx.saga() as saga:
                saga.compensate(release, "x")
                await ctx.activity(clean)
                if ending == "return":
                    return "returned"
                if ending == "break":
                    break
                sys.exit(3)
        return "left"

    run = play(workflow_of(code))
    run.complete("clean")
    if ending == "exit":
        run.complete("release")
        assert run.failure.type == "SystemExit"
    else:
        assert run.status is RunStatus.COMPLETED


def test_compensations_belong_into_the_block(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        saga = ctx.saga()
        with pytest.raises(LoomError, match="outside of its `async with` block"):
            saga.compensate(release, "x")
        async with saga:
            saga.compensate(clean)
        with contextlib.suppress(ZeroDivisionError):
            async with saga:
                raise ZeroDivisionError
        with pytest.raises(LoomError, match="outside of its `async with` block"):
            saga.compensate(release, "x")

    assert play(workflow_of(code)).status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("use", "problem"),
    [
        (lambda ctx, saga: saga.compensate(release), "missing a required argument"),
        (lambda ctx, saga: saga.compensate(release, object()), "cannot be stored"),
        (lambda ctx, saga: saga.compensate(print, "x"), "is not an activity"),
        (lambda ctx, saga: ctx.saga(on_error="shrug"), "either 'continue' or 'stop'"),
    ],
)
def test_what_cannot_work_is_refused_and_the_rest_undone(
    play: Play, use: Callable[[Ctx, Any], object], problem: str
) -> None:
    async def code(ctx: Ctx) -> None:
        async with ctx.saga() as saga:
            saga.compensate(release, "x")
            use(ctx, saga)

    run = play(workflow_of(code))
    run.complete("release")
    assert problem in run.failure.message


@pytest.mark.parametrize("registered", [True, False])
def test_a_run_does_not_continue_as_new_with_something_to_undo(
    play: Play, registered: bool
) -> None:
    async def code(ctx: Ctx) -> None:
        async with ctx.saga() as done:
            done.compensate(clean)
        async with ctx.saga() as saga:
            if registered:
                saga.compensate(release, "x")
            ctx.continue_as_new()

    run = play(workflow_of(code))
    if registered:
        run.complete("release")
        assert "inside of a saga that has something to undo" in run.failure.message
    else:
        assert run.status is RunStatus.CONTINUED_AS_NEW


def test_registrations_are_matched_on_replay(play: Play) -> None:
    async def other(ctx: Ctx) -> None:
        async with ctx.saga() as saga:
            await ctx.activity(book, "flight")
            saga.compensate(clean)

    run = booked(play)
    with pytest.raises(NonDeterministicWorkflowError, match="COMPENSATION_REGISTERED"):
        replayed(workflow_of(other), run.history)
