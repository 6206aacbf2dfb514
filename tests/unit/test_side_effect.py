"""``ctx.side_effect``: called once, remembered, and no part of the run."""

from __future__ import annotations

import asyncio
import functools
import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from loom.errors import NonDeterministicWorkflowError, SideEffectFailedError
from loom.history.events import SideEffectRecorded
from loom.history.failures import failure_from
from tests.engine_harness import Play, replayed
from tests.unit.workflows import Ctx, add, clean, workflow_of


@dataclass
class Setting:
    name: str
    value: int = 0


def test_a_side_effect_is_called_once_however_often_the_run_is_replayed(play: Play) -> None:
    numbers = itertools.count(1)

    async def code(ctx: Ctx) -> list[int]:
        first = ctx.side_effect(lambda: next(numbers))
        await ctx.activity(clean)
        return [first, ctx.side_effect(lambda: next(numbers))]

    run = play(workflow_of(code))
    run.instance.unwind()
    run.instance = run.replay()
    run.complete("clean")
    run.check_replay()
    assert run.result == [1, 2]
    assert run.types == [
        "WORKFLOW_STARTED",
        "SIDE_EFFECT_RECORDED",
        "ACTIVITY_SCHEDULED",
        "ACTIVITY_COMPLETED",
        "SIDE_EFFECT_RECORDED",
        "WORKFLOW_COMPLETED",
    ]


def annotated() -> Setting:
    return Setting("depth", 3)


def untyped() -> Any:
    return Setting("depth", 3)


def unknown_type() -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
    return None


TOKEN = uuid.uuid4()
MOMENT = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("function", "declared", "expected"),
    [
        (annotated, None, Setting("depth", 3)),
        (untyped, Setting, Setting("depth", 3)),
        (lambda: Setting("x"), Setting, Setting("x")),
        (lambda: TOKEN, None, TOKEN),
        (lambda: MOMENT, None, MOMENT),
        (lambda: {"a": [1, 2.5, None]}, None, {"a": [1, 2.5, None]}),
        (functools.partial(annotated), Setting, Setting("depth", 3)),
        (functools.partial(max, 3, 5), None, 5),
        (list, None, []),
    ],
)
def test_a_result_comes_back_as_what_it_was(
    play: Play, function: Callable[[], Any], declared: Any, expected: Any
) -> None:
    seen = []

    async def code(ctx: Ctx) -> None:
        seen.append(ctx.side_effect(function, type=declared))

    run = play(workflow_of(code))
    run.check_replay()
    assert run.types[-1] == "WORKFLOW_COMPLETED"
    assert seen == [expected, expected]
    assert type(seen[0]) is type(expected)


def test_what_it_gives_is_the_code_s_own(play: Play) -> None:
    shared: list[int] = []

    async def code(ctx: Ctx) -> list[int]:
        mine = ctx.side_effect(lambda: shared)
        mine.append(1)
        return mine

    assert play(workflow_of(code)).result == [1]
    assert shared == []


def test_a_failure_is_remembered_like_a_result(play: Play) -> None:
    calls = itertools.count(1)

    def broken() -> int:
        raise OSError(f"call {next(calls)}")

    async def code(ctx: Ctx) -> list[str]:
        try:
            ctx.side_effect(broken)
        except SideEffectFailedError as error:
            await ctx.activity(clean)
            return [error.cause_type, error.cause_message, error.cause_traceback[:9], str(error)]
        return []

    run = play(workflow_of(code))
    run.instance.unwind()
    run.instance = run.replay()
    run.complete("clean")
    told = "A side effect failed: OSError: call 1"
    assert run.result == ["OSError", "call 1", "Traceback", told]


async def asynchronous() -> int:
    return 1


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (untyped, "would come back as dict: annotate what the function returns, or give type="),
        (lambda: object(), "cannot be stored"),
        (asynchronous, "must be a plain one; use an activity"),
    ],
)
def test_what_cannot_be_remembered_fails(play: Play, function: Any, problem: str) -> None:
    async def code(ctx: Ctx) -> None:
        with pytest.raises(SideEffectFailedError, match=problem):
            ctx.side_effect(function)
        await ctx.activity(clean)

    run = play(workflow_of(code)).run(clean)
    assert run.types[-1] == "WORKFLOW_COMPLETED"


def test_an_annotation_that_cannot_be_resolved_is_told(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        ctx.side_effect(unknown_type)

    run = play(workflow_of(code))
    assert run.failure.type == "loom.errors.DefinitionError"
    assert "Nowhere" in run.failure.message


USES: dict[str, Callable[[Ctx, asyncio.Event], object]] = {
    "chance": lambda ctx, event: ctx.random.random(),
    "uuid": lambda ctx, event: str(ctx.uuid4()),
    "side effect": lambda ctx, event: ctx.side_effect(lambda: 1),
    "state": lambda ctx, event: ctx.state.set("a", 1).send(None),
    "activity": lambda ctx, event: ctx.activity(add, 1).send(None),
    "sleep": lambda ctx, event: ctx.sleep(1).send(None),
    "event": lambda ctx, event: event.set(),
    "running loop": lambda ctx, event: asyncio.get_running_loop().time(),
}


@pytest.mark.parametrize("use", USES)
def test_the_run_must_not_depend_on_more_than_the_result(play: Play, use: str) -> None:
    seen = []

    async def code(ctx: Ctx) -> list[Any]:
        event = asyncio.Event()
        waiting = asyncio.create_task(event.wait())
        await asyncio.sleep(0)
        try:
            ctx.side_effect(lambda: USES[use](ctx, event), type=object)
        except SideEffectFailedError as error:
            seen.append(error.cause_message)
        await ctx.activity(clean)
        waiting.cancel()
        return [ctx.random.random(), len(asyncio.all_tasks())]

    run = play(workflow_of(code)).run(clean)
    again = run.replay()
    assert again.random.getstate() == run.instance.random.getstate()
    again.unwind()
    assert len(set(seen)) == 1
    assert "not called on replay" in seen[0] or use == "running loop"


def test_what_it_logs_is_told_but_not_kept(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def code(ctx: Ctx) -> None:
        ctx.side_effect(lambda: ctx.logger.warning("inside"), type=None)
        ctx.logger.warning("outside")

    run = play(workflow_of(code))
    run.check_replay()
    assert [(line.position, line.message) for line in run.logs] == [(1, "outside")]
    assert [record.getMessage() for record in caplog.records] == ["inside", "outside"]


def test_a_run_that_is_let_go_calls_nothing_any_more(play: Play) -> None:
    called = []

    async def code(ctx: Ctx) -> None:
        try:
            await ctx.activity(clean)
        finally:
            ctx.side_effect(lambda: called.append(1))

    run = play(workflow_of(code))
    run.replay().unwind()
    assert called == []
    run.terminate()
    assert called == []


def test_a_function_may_run_a_loop_of_its_own(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        given = ctx.side_effect(lambda: asyncio.run(asynchronous()))
        return [given, await asyncio.sleep(1, "slept")]

    run = play(workflow_of(code))
    run.advance(1)
    assert run.result == [1, "slept"]


def test_side_effects_are_matched_by_their_number(play: Play) -> None:
    async def before(ctx: Ctx) -> None:
        ctx.side_effect(lambda: 1)
        await ctx.activity(clean)

    async def after(ctx: Ctx) -> None:
        await ctx.activity(clean)
        ctx.side_effect(lambda: 1)

    run = play(workflow_of(before))
    with pytest.raises(NonDeterministicWorkflowError, match="SIDE_EFFECT_RECORDED"):
        replayed(workflow_of(after), run.history)


def test_a_recorded_failure_is_what_history_holds(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        ctx.side_effect(lambda: 1 // 0)

    run = play(workflow_of(code))
    [event] = [e for e in run.events if isinstance(e, SideEffectRecorded)]
    assert event.failure is not None
    assert event.failure.type == failure_from(ZeroDivisionError()).type
    assert run.failure.type == "loom.errors.SideEffectFailedError"
