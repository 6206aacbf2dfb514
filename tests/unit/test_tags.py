"""Tags and the memo, as a run's own code sees them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from loom.errors import PayloadError
from loom.history.events import TagsSet
from loom.history.tags import encode_tags
from loom.runner.activity_changes import activity_changes
from loom.runner.transitions import LeasePlan, effects_of
from tests.engine_harness import Play
from tests.unit.workflows import Ctx, clean, workflow_of


def test_the_code_sees_the_tags_and_the_memo_that_its_run_was_started_with(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        return [ctx.memo, sorted(ctx.tags.items())]

    run = play(workflow_of(code), tags={"stage": "snew"}, memo='["dict",{"by":"Ada"}]')
    assert run.result == [{"by": "Ada"}, [["stage", "new"]]]
    run.check_replay()


def test_without_any_there_are_none(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        return [ctx.memo, ctx.tags]

    assert play(workflow_of(code)).result == [None, {}]


def test_tags_change_at_once_and_on_replay_to_what_was_recorded(play: Play) -> None:
    due = datetime(2026, 5, 1, tzinfo=UTC)

    async def code(ctx: Ctx) -> Any:
        ctx.set_tags({"stage": "paid", "by": None, "due": due})
        await ctx.activity(clean)
        ctx.set_tags({"total": 5})
        return [ctx.tags["due"] == due, sorted(ctx.tags)]

    run = play(workflow_of(code), tags={"stage": "snew", "by": "sAda"})
    run.check_replay()
    run.complete("clean")
    assert run.result == [True, ["due", "stage", "total"]]
    run.check_replay()


def test_tags_refuse_to_be_changed_in_place_and_say_what_to_call(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        with pytest.raises(TypeError, match=r"Call ctx.set_tags\(\{name: value\}\)"):
            ctx.tags["stage"] = "changed"  # type: ignore[index]
        with pytest.raises(TypeError, match="set_tags"):
            del ctx.tags["stage"]  # type: ignore[attr-defined]
        with pytest.raises(TypeError, match="set_tags"):
            ctx.tags.update(stage="changed")  # type: ignore[attr-defined]
        return [dict(ctx.tags), {**ctx.tags, "stage": "mine"}]

    run = play(workflow_of(code), tags={"stage": "snew"})
    assert run.result == [{"stage": "new"}, {"stage": "mine"}]


def test_what_the_code_gets_are_copies(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        ctx.memo["by"] = "changed"
        return [ctx.memo, ctx.tags]

    run = play(workflow_of(code), tags={"stage": "snew"}, memo='["dict",{"by":"Ada"}]')
    assert run.result == [{"by": "Ada"}, {"stage": "new"}]


def test_what_cannot_be_a_tag_is_refused_where_it_is_set(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        with pytest.raises(PayloadError, match="'stage'"):
            ctx.set_tags({"stage": ["new"]})  # type: ignore[dict-item]
        return ctx.tags

    run = play(workflow_of(code), tags={"stage": "snew"})
    assert run.result == {"stage": "new"}
    assert not any(isinstance(event, TagsSet) for event in run.events)


def test_the_last_of_several_changes_in_one_turn_is_what_is_written(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.wait_for_signal("go")
        ctx.set_tags({"stage": "paid", "by": "Ada"})
        ctx.set_tags({"stage": "sent", "by": None})

    run = play(workflow_of(code))
    decision = run.deliver(run.signalled("go", None))
    changes = activity_changes(decision)
    effects = effects_of(decision, changes, after=1, at=run.now, plan=LeasePlan())
    assert effects.tags == {"stage": "ssent", "by": None}


def test_a_moment_that_utc_cannot_show_is_refused() -> None:
    beyond = datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))
    with pytest.raises(PayloadError, match="beyond what a calendar holds"):
        encode_tags({"when": beyond})
