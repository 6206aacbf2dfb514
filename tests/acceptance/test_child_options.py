"""Children are started with what every start may have, and talked to by their handlers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually

type Context = loom.WorkflowContext[Any, Any]

attempts: dict[str, int] = {}


@loom.workflow
class Listener(loom.Workflow[Any, Any]):
    def __init__(self) -> None:
        self.heard: list[str] = []

    async def run(self, ctx: Context) -> list[str]:
        await ctx.wait_until(lambda: len(self.heard) == 2)
        return self.heard

    @loom.signal
    def hear(self, words: str, times: int = 1) -> None:
        self.heard.append(words * times)


@loom.workflow
class Stranger(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> None:
        await ctx.wait_for_signal("never")

    @loom.signal
    def hear(self, words: str) -> None: ...

    @loom.query
    def said(self) -> str:
        return "nothing"

    @loom.update
    async def say(self) -> None: ...


@loom.workflow
class Shows(loom.Workflow[Any, Any]):
    """What it was started with."""

    async def run(self, ctx: Context) -> list[Any]:
        return [ctx.memo, sorted(ctx.tags.items())]


@loom.workflow
class Flaky(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> int:
        attempts[ctx.input] = attempts.get(ctx.input, 0) + 1
        if attempts[ctx.input] < 3:
            raise ConnectionError("not yet")
        return attempts[ctx.input]


@loom.workflow
class Endless(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> None:
        await ctx.sleep(0.05)
        ctx.continue_as_new()


@loom.workflow
class Tries(loom.Workflow[Any, Any]):
    """Starts a child with the options that its input names."""

    async def run(self, ctx: Context) -> Any:
        name, given, options = ctx.input
        if "retry" in options:
            options = {**options, "retry": loom.RetryPolicy(**options["retry"])}
        try:
            return await ctx.child(name, given, id=f"{ctx.workflow_id}/child", **options)
        except loom.ChildWorkflowTimedOutError as error:
            return f"{error.workflow} timed out"


@loom.workflow
class TalksToChild(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> list[str]:
        child = await ctx.start_child(Listener)
        await child.signal(Listener.hear, "ho", times=2)
        await ctx.signal_workflow(child.workflow_id, Listener.hear, "hey")
        return await child.result()


@loom.workflow
class Mistaken(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> list[str]:
        told = []
        child = await ctx.start_child(Listener)
        for wrong in (Stranger.hear, Stranger.said, Mistaken.run):
            try:
                await child.signal(wrong, "words")
            except loom.DefinitionError as error:
                told.append(str(error))
        try:
            await child.signal(Listener.hear, 5)  # type: ignore[arg-type]
        except loom.PayloadError as error:
            told.append(str(error))
        try:
            await ctx.child(Listener, delays=5)  # type: ignore[call-overload]
        except TypeError as error:
            told.append(str(error))
        return told


WORKFLOWS = [Listener, Stranger, Shows, Flaky, Endless, Tries, TalksToChild, Mistaken]


async def tried(app: loom.Loom, name: str, given: Any = None, **options: Any) -> Any:
    async with app.worker(workflows=WORKFLOWS):
        return await (await app.start(Tries, [name, given, options], id="p")).result(30)


async def test_a_child_has_its_tags_and_memo_and_is_found_by_them(app: loom.Loom) -> None:
    labels: Any = {"tags": {"region": "eu", "size": 3}, "memo": {"by": "Ada"}}
    assert await tried(app, "Shows", **labels) == [{"by": "Ada"}, [["region", "eu"], ["size", 3]]]
    [found] = await app.list(tags={"region": "eu"})
    assert found.workflow_id == "p/child"
    assert found.memo == {"by": "Ada"}


async def test_a_child_that_takes_too_long_times_out(app: loom.Loom) -> None:
    assert await tried(app, "Stranger", run_timeout=0.2) == "Stranger timed out"
    info = await app.handle("p/child").info()
    assert info.status is RunStatus.TIMED_OUT
    assert info.deadline is not None
    assert info.deadline - info.created_at < timedelta(seconds=10)


async def test_a_childs_whole_chain_may_be_held_to_a_time(app: loom.Loom) -> None:
    assert await tried(app, "Endless", execution_timeout=0.4) == "Endless timed out"
    runs = await app.list(id="p/child")
    # However many there were before the time was up, it was the time of all of them.
    assert runs[0].status is RunStatus.TIMED_OUT
    assert len({run.deadline for run in runs}) == 1
    [*_, ended] = await app.handle("p/child").history()
    assert ended.attributes.get("of_chain") is True


async def test_a_child_is_tried_again_and_its_parent_hears_of_the_last(app: loom.Loom) -> None:
    attempts.pop(name := str(id(app)), None)
    policy = {"maximum_attempts": 5, "initial_interval": 0.01, "jitter": 0}
    assert await tried(app, "Flaky", name, retry=policy) == 3
    statuses = [run.status for run in await app.list(id="p/child")]
    assert statuses == [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.FAILED]


async def test_children_and_others_are_signalled_by_their_handlers(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS):
        assert await (await app.start(TalksToChild)).result(30) == ["hoho", "hey"]


async def test_what_does_not_fit_a_child_is_refused_where_it_is_written(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS):
        handle = await app.start(Mistaken)
        other, query, method, payload, keyword = await handle.result(30)
    assert "The signal Stranger.hear is none of Listener" in other
    assert "is no signal: it was decorated with @loom.query" in query
    assert "is no signal" in method
    assert "declared as" in payload
    assert "ctx.child() takes no 'delays'" in keyword


async def test_a_handler_of_another_workflow_is_refused(app: loom.Loom) -> None:
    handle = await app.start(Listener)
    why = "Stranger.* is none of Listener"
    with pytest.raises(loom.DefinitionError, match=why):
        await handle.signal(Stranger.hear, "words")
    with pytest.raises(loom.DefinitionError, match=why):
        await handle.query(Stranger.said)
    with pytest.raises(loom.DefinitionError, match=why):
        await handle.update(Stranger.say)
    with pytest.raises(loom.DefinitionError, match=why):
        await app.start_with_signal(Listener, None, Stranger.hear, "words")
    async with app.worker(workflows=WORKFLOWS):
        with pytest.raises(loom.DefinitionError, match=why):
            await handle.query(Stranger.said)


async def test_handlers_of_a_base_class_are_those_of_a_workflow(app: loom.Loom) -> None:
    @loom.workflow
    class Special(Listener):
        @loom.signal
        def hear(self, words: str, times: int = 1) -> None:
            self.heard.append("special " + words * times)

    async with app.worker(workflows=[Special]):
        handle = await app.start(Special)
        await handle.signal(Listener.hear, "one")
        await handle.signal(Special.hear, "two", 2)
        assert await handle.result(30) == ["special one", "special twotwo"]


@loom.workflow
class Relay(loom.Workflow[int, Any]):
    """Starts a child, and waits for it in the run after the next."""

    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> str:
        child = f"{ctx.workflow_id}/listener"
        if ctx.input == 0:
            await ctx.start_child(Listener, id=child)
        if ctx.input < 2:
            ctx.continue_as_new(ctx.input + 1)
        heard = await ctx.inherited_child(child, Listener).result()
        return " ".join(heard)


async def test_the_next_runs_of_a_chain_wait_for_the_children_of_the_first(app: loom.Loom) -> None:
    async with app.worker(workflows=[*WORKFLOWS, Relay]):
        handle = await app.start(Relay, 0, id="relay")
        await eventually(lambda: goes_on(app))
        listener = app.handle("relay/listener", workflow=Listener)
        for word in ("one", "two"):
            await listener.signal(Listener.hear, word)
        assert await handle.result(30) == "one two"


async def goes_on(app: loom.Loom) -> bool:
    return await app.count(id="relay") == 3
