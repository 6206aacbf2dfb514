"""What is asked for and never awaited halts the run; what an exception left behind does not."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import loom
from loom.errors import NonDeterministicCallError
from tests.engine_harness import Play, SimulatedRun, replayed
from tests.unit.workflows import Ctx, add, clean, workflow_of

# What Python itself says of them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

type Code = Callable[[Ctx], Awaitable[Any]]


def refusal(code: Code) -> str:
    run = SimulatedRun(workflow_of(code))
    with pytest.raises(NonDeterministicCallError) as caught:
        run.start()
    assert run.history == []
    return str(caught.value)


CALLS: dict[str, Callable[[Ctx], Any]] = {
    "ctx.activity()": lambda ctx: ctx.activity(clean),
    "ctx.local_activity()": lambda ctx: ctx.local_activity(clean),
    "ctx.sleep()": lambda ctx: ctx.sleep(1),
    "ctx.wait_for_signal()": lambda ctx: ctx.wait_for_signal("go"),
    "ctx.wait_until()": lambda ctx: ctx.wait_until(lambda: True),
    "ctx.child()": lambda ctx: ctx.child("Other"),
    "ctx.start_child()": lambda ctx: ctx.start_child("Other"),
    "ctx.signal_workflow()": lambda ctx: ctx.signal_workflow("id", "go"),
    "ctx.cancel_workflow()": lambda ctx: ctx.cancel_workflow("id"),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_is_caught_whose_await_was_forgotten(call: str) -> None:
    async def code(ctx: Ctx) -> str:
        CALLS[call](ctx)
        return "done"

    told = refusal(code)
    assert f"called {call}, which is never awaited" in told
    assert "write `await` in front of it" in told
    assert "unguarded" not in told


def test_the_line_of_the_call_is_told() -> None:
    async def code(ctx: Ctx) -> None:
        ctx.activity(clean)

    line = code.__code__.co_firstlineno + 1
    assert f"at {__file__}:{line} in " in refusal(code)
    assert ".code: ctx.activity(clean)" in refusal(code)


@pytest.mark.parametrize("call", ["result", "signal", "cancel"])
def test_calls_of_a_child_are_caught(call: str) -> None:
    async def code(ctx: Ctx) -> None:
        child = await ctx.start_child("Other")
        getattr(child, call)(*(["go"] if call == "signal" else []))

    assert f"called ChildHandle.{call}(), which is never awaited" in refusal(code)


async def _returns(ctx: Ctx) -> int:
    unused = ctx.activity(clean)
    return 1 if unused else 0


def _plain(ctx: Ctx) -> int:
    unused = ctx.activity(clean)
    return 1 if unused else 0


async def _in_a_task(ctx: Ctx) -> None:
    await asyncio.create_task(_returns(ctx))


async def _asked_whether_true(ctx: Ctx) -> None:
    if ctx.wait_for_signal("go"):  # type: ignore[truthy-bool]
        await ctx.activity(clean)


async def _replaced(ctx: Ctx) -> None:
    result: Any = ctx.activity(clean)
    result = 2
    await ctx.sleep(result)


async def _never_used(ctx: Ctx) -> int:
    _ = [ctx.activity(add, number, 1) for number in range(3)]
    return 1


async def _in_a_block(ctx: Ctx) -> None:
    async with asyncio.timeout(5):
        ctx.activity(clean)
        await ctx.sleep(1)


async def _in_a_helper(ctx: Ctx) -> int:
    return _plain(ctx)


async def _in_an_awaited_helper(ctx: Ctx) -> int:
    return await _returns(ctx)


async def _in_an_except(ctx: Ctx) -> None:
    try:
        raise KeyError
    except KeyError as error:
        ctx.activity(clean)
        print(error)


@pytest.mark.parametrize(
    "code",
    [
        *(_returns, _in_a_task, _asked_whether_true, _replaced, _never_used, _in_a_block),
        *(_in_an_awaited_helper, _in_an_except),
        # 3.13 does not tell a function that has returned from one in C that is being called.
        pytest.param(
            _in_a_helper, marks=pytest.mark.skipif(sys.version_info >= (3, 13), reason="")
        ),
    ],
)
def test_it_is_caught_whatever_becomes_of_the_coroutine(code: Code) -> None:
    assert "which is never awaited" in refusal(code)


# --- what is no mistake ---


def _broken() -> int:
    raise KeyError("broken")


async def _arguments_fail(ctx: Ctx) -> Any:
    try:
        return await asyncio.gather(ctx.activity(clean), ctx.activity(add, 1, _broken()))
    except KeyError:
        return "failed"


async def _fails_between(ctx: Ctx) -> Any:
    first = ctx.activity(clean)
    second = ctx.activity(add, 1, _broken())
    return await asyncio.gather(first, second)


async def _helper_fails(ctx: Ctx) -> Any:
    try:
        return await _fails_between(ctx)
    except KeyError:
        return "failed"


async def _helper_fails_by_name(ctx: Ctx) -> Any:
    try:
        return await _fails_between(ctx)
    except KeyError as error:
        print(error)
    return "failed"


async def _group_fails(ctx: Ctx) -> Any:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_fails_between(ctx))
    except* KeyError:
        pass
    return "failed"


async def _generator_fails(ctx: Ctx) -> Any:
    try:
        return await asyncio.gather(*(ctx.activity(add, 1, [1][n]) for n in range(3)))
    except IndexError:
        return "failed"


async def _list_fails(ctx: Ctx) -> Any:
    try:
        return await asyncio.gather(*list(ctx.activity(add, 1, [1][n]) for n in range(3)))  # noqa: C400
    except IndexError:
        return "failed"


async def _comprehension_fails(ctx: Ctx) -> Any:
    try:
        return await asyncio.gather(*[ctx.activity(add, 1, [1][n]) for n in range(3)])
    except IndexError:
        return "failed"


async def _suppressed_in_place(ctx: Ctx) -> Any:
    with contextlib.suppress(KeyError):
        asked = ctx.activity(clean)
        _broken()
        return await asked
    return "failed"


async def _handled_in_place_and_again(ctx: Ctx) -> Any:
    for _ in range(2):
        asked = ctx.activity(clean)
        try:
            _broken()
        except KeyError:
            continue
        await asked
    return "failed"


async def _or_else(asked: Awaitable[Any], seconds: float) -> Any:
    try:
        async with asyncio.timeout(seconds):
            await asyncio.sleep(seconds)
            return await asked
    except TimeoutError:
        return "failed"


async def _helper_gives_up(ctx: Ctx) -> Any:
    return await _or_else(ctx.activity(clean), 0)


async def _helper_returns_in_spite_of_it(ctx: Ctx) -> Any:
    async def ask() -> str:
        asked = ctx.activity(clean)
        try:
            return str(_broken())
        except KeyError:
            return "failed" if asked else ""

    return await ask()


async def _async_generator_is_left(ctx: Ctx) -> Any:
    async def ask() -> AsyncIterator[str]:
        asked = ctx.activity(clean)
        yield "failed"
        await asked

    asking = ask()
    answer = await anext(asking)
    await asking.aclose()
    return answer


async def _closed(ctx: Ctx) -> Any:
    unwanted = ctx.activity(clean)
    held = ctx.sleep(1)
    unwanted.close()
    held.close()
    return "failed"


async def _cancelled_before_it_begins(ctx: Ctx) -> Any:
    task = asyncio.create_task(ctx.activity(clean))
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return "failed"


async def _gathered_and_cancelled(ctx: Ctx) -> Any:
    try:
        async with asyncio.timeout(0):
            await asyncio.gather(ctx.activity(clean), ctx.activity(clean))
    except TimeoutError:
        return "failed"


@pytest.mark.parametrize(
    "code",
    [
        *(_arguments_fail, _helper_fails, _helper_fails_by_name, _group_fails, _generator_fails),
        *(_comprehension_fails, _suppressed_in_place, _handled_in_place_and_again),
        *(_helper_gives_up, _helper_returns_in_spite_of_it, _async_generator_is_left),
        *(_list_fails, _closed, _cancelled_before_it_begins, _gathered_and_cancelled),
    ],
)
def test_what_an_exception_leaves_behind_is_not_forgotten(play: Play, code: Code) -> None:
    run = play(workflow_of(code))
    run.advance(0)
    gc.collect()
    assert run.result == "failed"
    run.check_replay()


def test_a_failing_run_fails_by_its_own_error(play: Play) -> None:
    run = play(workflow_of(_fails_between))
    assert run.failure.type == "KeyError"
    run.check_replay()


def test_coroutines_may_be_awaited_later_and_anywhere(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        waiting = [ctx.activity(add, 1, 1), ctx.activity(add, 2, 2)]
        await ctx.sleep(1)
        first = await waiting.pop(0)
        async with asyncio.TaskGroup() as group:
            second = group.create_task(waiting.pop())
            third = group.create_task(ctx.sleep(1))
        await third
        return [first, await second]

    run = play(workflow_of(code))
    run.advance(1)
    run.complete("add", 2)
    run.complete("add", 4)
    run.advance(1)
    assert run.result == [2, 4]
    run.check_replay()


def test_an_open_run_that_is_let_go_of_says_nothing(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        later = ctx.activity(clean)
        await ctx.sleep(1)
        await later

    run = play(workflow_of(code))
    run.instance.unwind()
    assert replayed(run.workflow, run.history).is_open


def test_they_are_ordinary_coroutines(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        asked = ctx.activity(clean)
        kinds = [asyncio.iscoroutine(asked), asyncio.iscoroutinefunction(ctx.sleep)]
        await asked
        return [*kinds, asked.__qualname__]

    assert play(workflow_of(code)).run(clean).result == [
        True,
        True,
        "WorkflowContext.activity",
    ]


def test_guards_that_warn_let_it_happen(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def code(ctx: Ctx) -> str:
        ctx.activity(clean)
        return "done"

    run = SimulatedRun(workflow_of(code), guards="warn").start()
    assert run.result == "done"
    assert "called ctx.activity(), which is never awaited" in caplog.text


def test_guards_that_are_off_say_nothing() -> None:
    async def code(ctx: Ctx) -> str:
        ctx.activity(clean)
        return "done"

    assert SimulatedRun(workflow_of(code), guards="off").start().result == "done"


# --- activities called directly ---


@loom.activity
async def charge(cents: int) -> int:
    return cents


@loom.activity
def weigh(grams: int) -> int:
    return grams


@loom.activity(name="stored otherwise")
async def renamed() -> None: ...


class Holder:
    @staticmethod
    @loom.activity
    async def held() -> None: ...


DIRECT: dict[str, Callable[[], Any]] = {
    "charge": lambda: charge(3),
    "weigh": lambda: weigh(3),
    "renamed": lambda: renamed(),
    "held": lambda: Holder.held(),
    "charge ": lambda: loom.with_options(charge, retry_count=1)(3),
}


@pytest.mark.parametrize("name", DIRECT)
def test_an_activity_that_is_called_like_a_function_is_refused(name: str) -> None:
    async def code(ctx: Ctx) -> Any:
        return DIRECT[name]()

    told, name = refusal(code), name.strip()
    assert f"called {name}(), which is an activity" in told
    assert f"use `await ctx.activity({name}, ...)`" in told


def test_an_awaited_activity_is_refused_too() -> None:
    async def code(ctx: Ctx) -> Any:
        return await charge(3)

    assert "called charge(), which is an activity" in refusal(code)
    assert "code: return await charge(3)" in refusal(code)


# --- what the watch must leave alone ---


@pytest.mark.parametrize("deeper", range(8))
def test_an_endless_recursion_ends_wherever_the_stack_is_full(deeper: int) -> None:
    refusal(_returns)  # From now on exceptions are watched.
    tree = ast.parse(" + ".join(["1"] * 2_000))

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            visit(child)

    def from_deeper(levels: int) -> None:
        return from_deeper(levels - 1) if levels else visit(tree)

    with pytest.raises(RecursionError):
        from_deeper(deeper)
