"""``ctx.patched``: runs keep the code that they began with, and new ones take the new."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from loom.authoring.activity import activity
from loom.errors import NonDeterministicWorkflowError
from loom.history.events import PatchApplied
from tests.engine_harness import Play, SimulatedRun, new_instance, replayed
from tests.unit.workflows import Ctx, add, clean, fetch, workflow_of

type Code = Callable[[Ctx], Awaitable[Any]]


@activity
def charge_v2() -> None: ...


# The life of a change, one deployment after the other.


async def before(ctx: Ctx) -> str:
    await ctx.activity(fetch, "x")
    await ctx.activity(clean)
    return "old"


async def patched(ctx: Ctx) -> str:
    await ctx.activity(fetch, "x")
    if ctx.patched("charge"):
        await ctx.activity(charge_v2)
        return "new"
    await ctx.activity(clean)
    return "old"


async def deprecated(ctx: Ctx) -> str:
    await ctx.activity(fetch, "x")
    ctx.deprecate_patch("charge")
    await ctx.activity(charge_v2)
    return "new"


async def after(ctx: Ctx) -> str:
    await ctx.activity(fetch, "x")
    await ctx.activity(charge_v2)
    return "new"


def handed_over(run: SimulatedRun, code: Code) -> SimulatedRun:
    """The same run, with another code."""
    run.instance.unwind()
    run.workflow = workflow_of(code)
    run.instance = run.replay()
    return run


@pytest.mark.parametrize("code", [patched, deprecated, after])
def test_a_new_run_takes_the_new_code(play: Play, code: Code) -> None:
    run = play(workflow_of(code)).run(fetch, charge_v2)
    assert run.result == "new"


def test_the_marker_stands_where_the_code_asked(play: Play) -> None:
    run = play(workflow_of(patched)).run(fetch, charge_v2)
    assert run.types == [
        "WORKFLOW_STARTED",
        "ACTIVITY_SCHEDULED",
        "ACTIVITY_COMPLETED",
        "PATCH_APPLIED",
        "ACTIVITY_SCHEDULED",
        "ACTIVITY_COMPLETED",
        "WORKFLOW_COMPLETED",
    ]


@pytest.mark.parametrize("done", [1, 2])
def test_a_run_that_was_past_the_change_keeps_the_old_code(play: Play, done: int) -> None:
    run = play(workflow_of(before))
    for name in ("fetch", "clean")[:done]:
        run.complete(name, "X" if name == "fetch" else None)
    handed_over(run, patched).run(clean)
    assert run.result == "old"
    assert "PATCH_APPLIED" not in run.types


def test_a_run_that_was_not_yet_there_takes_the_new_code(play: Play) -> None:
    run = play(workflow_of(before))
    handed_over(run, patched).run(fetch, charge_v2)
    assert run.result == "new"


NEXT = {patched: [patched, deprecated], deprecated: [patched, deprecated, after], after: [after]}
STEPS = [(first, second) for first, following in NEXT.items() for second in following]


@pytest.mark.parametrize(("first", "second"), STEPS, ids=lambda code: code.__name__)
@pytest.mark.parametrize("done", [0, 1, 2])
def test_each_deployment_replays_the_runs_of_the_one_before(
    play: Play, first: Code, second: Code, done: int
) -> None:
    run = play(workflow_of(first))
    for name in ("fetch", "charge_v2")[:done]:
        run.complete(name, "X" if name == "fetch" else None)
    handed_over(run, second).run(fetch, charge_v2)
    assert run.result == "new"


def test_a_patch_must_not_be_forgotten_before_it_is_deprecated(play: Play) -> None:
    run = play(workflow_of(patched)).run(fetch, charge_v2)
    with pytest.raises(NonDeterministicWorkflowError) as caught:
        replayed(workflow_of(after), run.history)
    assert "history: PATCH_APPLIED patch_id='charge'" in str(caught.value)
    assert "ctx.deprecate_patch('charge')" in str(caught.value)


def test_an_old_run_does_not_replay_without_the_old_code(play: Play) -> None:
    run = play(workflow_of(before)).run(fetch, clean)
    for code in (deprecated, after):
        with pytest.raises(NonDeterministicWorkflowError, match="charge_v2"):
            replayed(workflow_of(code), run.history)


def test_what_a_run_was_told_first_holds_for_all_of_it(play: Play) -> None:
    async def plain(ctx: Ctx) -> None:
        for number in range(3):
            await ctx.activity(add, number)

    async def changed(ctx: Ctx) -> list[bool]:
        told = []
        for number in range(3):
            told.append(ctx.patched("loop"))
            await ctx.activity(add, number)
        return told

    old = play(workflow_of(plain))
    old.complete("add", 1)
    assert handed_over(old, changed).run(add).result == [False, False, False]
    new = play(workflow_of(changed))
    new.complete("add", 1)
    new.instance.unwind()
    new.instance = new.replay()
    assert new.run(add).result == [True, True, True]
    assert new.types.count("PATCH_APPLIED") == 1


def test_patches_do_not_mix(play: Play) -> None:
    async def one(ctx: Ctx) -> None:
        ctx.patched("a")
        await ctx.activity(clean)

    async def two(ctx: Ctx) -> list[bool]:
        told = [ctx.patched("a"), ctx.patched("b")]
        await ctx.activity(clean)
        return [*told, ctx.patched("c")]

    run = play(workflow_of(one))
    assert handed_over(run, two).run(clean).result == [True, False, True]


def test_deprecated_patches_that_the_code_has_forgotten_are_passed_over(play: Play) -> None:
    async def many(ctx: Ctx) -> None:
        for name in "abc":
            ctx.deprecate_patch(name)
        await ctx.activity(clean)
        ctx.deprecate_patch("last")

    async def some(ctx: Ctx) -> bool:
        known = ctx.patched("b")
        await ctx.activity(clean)
        return known and ctx.patched("a")

    async def none(ctx: Ctx) -> None:
        await ctx.activity(clean)

    run = play(workflow_of(many))
    waiting = list(run.history)
    run.complete("clean")
    replayed(workflow_of(none), run.history).unwind()
    handed_over(run, none)
    again = SimulatedRun(workflow_of(some), history=waiting)
    again.instance = again.replay()
    # "a" was passed over on the way to "b": the run has it wherever it asks for it.
    assert again.run(clean).result is True
    again.close()


def test_a_deprecated_patch_is_one_that_the_run_has(play: Play) -> None:
    async def code(ctx: Ctx) -> bool:
        ctx.deprecate_patch("a")
        return ctx.patched("a")

    run = play(workflow_of(code))
    assert run.result is True
    assert [e for e in run.events if isinstance(e, PatchApplied)] == [PatchApplied("a", True)]


@pytest.mark.parametrize("bad", ["", "a\nb", 5, "x" * 1000])
def test_an_id_that_no_store_can_hold_is_refused(play: Play, bad: Any) -> None:
    async def code(ctx: Ctx) -> None:
        ctx.patched(bad)

    assert play(workflow_of(code)).failure.type == "loom.errors.DefinitionError"


def test_a_history_without_patches_knows_none() -> None:
    instance = new_instance(workflow_of(before))
    assert not instance._recorder.replays_patch("charge")
    instance.unwind()
