"""Runs that go on in another of the same id, and nothing lost on the way."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually

type Context = loom.WorkflowContext[Any, Any]


@loom.workflow
class Countdown(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> str:
        if ctx.input:
            ctx.continue_as_new(ctx.input - 1)
        return "lift-off"


@loom.workflow
class Collects(loom.Workflow[int, dict[str, Any]]):
    """Takes so many signals in each run; a stop ends the chain."""

    async def run(self, ctx: loom.WorkflowContext[int, dict[str, Any]]) -> list[int]:
        taken: list[int] = ctx.state.get("taken", [])
        for _ in range(ctx.input):
            item = await ctx.wait_for_signal("item", type=int)
            if item < 0:
                return taken
            taken.append(item)
            await ctx.state.set("taken", taken)
        return ctx.continue_as_new()


@loom.workflow
class Steps(loom.Workflow[None, dict[str, int]]):
    @loom.step
    async def count(self, ctx: loom.WorkflowContext[None, dict[str, int]]) -> None:
        await ctx.state.set("rounds", ctx.state.get("rounds", 0) + 1)

    @loom.step
    async def again(self, ctx: loom.WorkflowContext[None, dict[str, int]]) -> None:
        if ctx.state["rounds"] < 3:
            ctx.continue_as_new()


@loom.workflow
class Ends(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        await ctx.wait_for_signal("end")
        return ctx.input


@loom.workflow
class HasChild(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> None:
        if ctx.input == 0:
            await ctx.start_child(Ends, "child", id="child")
        if ctx.input < 2:
            ctx.continue_as_new(ctx.input + 1)
        await ctx.wait_for_signal("end")


@loom.workflow
class Awaits(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> str:
        return await ctx.child(Countdown, ctx.input, id="counting")


@loom.workflow
class Turns(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        ctx.continue_as_new("another", workflow=Ends)


WORKFLOWS = [Countdown, Collects, Steps, Ends, HasChild, Awaits, Turns]


def worker_of(app: loom.Loom, **options: Any) -> loom.Worker:
    return app.worker(workflows=WORKFLOWS, **options)


async def chain_of(app: loom.Loom, id: str) -> list[loom.WorkflowInfo]:
    """The runs of an id, oldest first."""
    return (await app.list(id=id))[::-1]


async def test_a_result_is_that_of_the_last_run(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Countdown, 5, id="c")
        assert await handle.result() == "lift-off"
        assert await app.handle("c", workflow=Countdown).result() == "lift-off"
    runs = await chain_of(app, "c")
    assert [run.status for run in runs] == [RunStatus.CONTINUED_AS_NEW] * 5 + [RunStatus.COMPLETED]
    assert [run.continued_from for run in runs] == [None, *(run.run_id for run in runs[:-1])]
    assert {run.first_run_id for run in runs} == {handle.run_id}


async def test_steps_continue_with_their_state(app: loom.Loom) -> None:
    async with worker_of(app):
        assert await (await app.start(Steps, id="s")).result() == {"rounds": 3}
    assert len(await chain_of(app, "s")) == 3


async def test_a_run_may_go_on_as_another_workflow(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Turns, id="t")
        await handle.signal("end", None)
        assert await handle.result() == "another"
    assert [run.name for run in await chain_of(app, "t")] == ["Turns", "Ends"]


async def test_tags_and_memo_go_along(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Countdown, 1, id="c", tags={"team": "red"}, memo={"a": 1})
        await handle.result()
    for run in await chain_of(app, "c"):
        info = await app.handle("c", run_id=run.run_id).info()
        assert (info.tags, info.memo) == ({"team": "red"}, {"a": 1})


async def test_no_signal_is_lost_or_doubled_in_a_long_chain(app: loom.Loom) -> None:
    """Signals come all the time, some of them twice, through handles to any run of the chain."""
    chance, sent = random.Random(20), list(range(100))
    async with worker_of(app):
        handle = await app.start(Collects, 5, id="c")

        async def send(numbers: list[int]) -> None:
            for number in numbers:
                runs = await chain_of(app, "c")
                to = chance.choice([handle, app.handle("c", run_id=chance.choice(runs).run_id)])
                for _ in range(chance.choice([1, 1, 2])):
                    await to.signal("item", number, request_id=f"n{number}")
                    await asyncio.sleep(chance.choice([0, 0, 0.001]))

        await asyncio.gather(*(send(sent[n::4]) for n in range(4)))
        # Once more, long after.
        for number in sent[::7]:
            await handle.signal("item", number, request_id=f"n{number}")
        await handle.signal("item", -1)
        taken = await handle.result()
    assert sorted(taken) == sent
    assert len(await chain_of(app, "c")) == 21


async def test_signals_sent_before_there_is_a_worker_are_handed_on(app: loom.Loom) -> None:
    handle = await app.start(Collects, 2, id="c")
    for number in [1, 2, 3, 4, 5, -1]:
        await handle.signal("item", number)
    async with worker_of(app):
        assert await handle.result() == [1, 2, 3, 4, 5]


async def test_a_chain_outlives_its_workers(app: loom.Loom) -> None:
    handle = await app.start(Collects, 3, id="c")
    for number in range(12):
        async with worker_of(app):
            await handle.signal("item", number, request_id=f"{number}")

            async def is_taken(number: int = number) -> bool:
                runs = await chain_of(app, "c")
                received = 0
                for run in runs:
                    history = await app.handle("c", run_id=run.run_id).history()
                    received += sum(event.type == "STATE_SET" for event in history)
                return received == number + 1

            await eventually(is_taken)
    async with worker_of(app):
        await handle.signal("item", -1)
        assert await handle.result() == list(range(12))


async def test_children_stay_with_the_chain(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(HasChild, 0, id="p")

        async def is_third() -> bool:
            return len(await chain_of(app, "p")) == 3

        await eventually(is_third)
        assert await app.handle("child").status() is RunStatus.RUNNING
        await handle.signal("end")
        await handle.result()

        async def is_gone() -> bool:
            return await app.handle("child").status() is RunStatus.TERMINATED

        await eventually(is_gone)


async def test_an_outcome_reaches_the_chain_of_who_started_the_child(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(HasChild, 0, id="p")
        await eventually(lambda: _has_runs(app, "p", 3))
        await app.handle("child").signal("end")
        await app.handle("child").result()

        async def is_told() -> bool:
            history = await app.handle("p").history()
            return "CHILD_COMPLETED" in [event.type for event in history]

        await eventually(is_told)
        await handle.signal("end")
        await handle.result()


async def _has_runs(app: loom.Loom, id: str, count: int) -> bool:
    return len(await chain_of(app, id)) == count


async def test_a_parent_hears_of_the_end_of_its_childs_chain(app: loom.Loom) -> None:
    async with worker_of(app):
        assert await (await app.start(Awaits, 4)).result() == "lift-off"
    assert len(await chain_of(app, "counting")) == 5


@pytest.mark.parametrize("how", ["cancel", "terminate"])
@pytest.mark.parametrize("with_worker", [True, False])
async def test_an_old_handle_ends_the_open_run(app: loom.Loom, how: str, with_worker: bool) -> None:
    async with worker_of(app):
        handle = await app.start(Collects, 1, id="c")
        await handle.signal("item", 1)
        await eventually(lambda: _has_runs(app, "c", 2))
        if with_worker:
            await getattr(handle, how)(reason="enough")
    if not with_worker:
        await getattr(handle, how)(reason="enough")
    async with worker_of(app):
        error = loom.WorkflowCancelledError if how == "cancel" else loom.WorkflowTerminatedError
        with pytest.raises(error, match="enough"):
            await handle.result()
    assert len(await chain_of(app, "c")) == 2


async def test_an_open_chain_has_its_id_for_itself(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Collects, 1, id="c")
        await handle.signal("item", 1)
        await eventually(lambda: _has_runs(app, "c", 2))
        again = await app.start(Collects, 1, id="c")
        assert again.run_id != handle.run_id
        assert len(await chain_of(app, "c")) == 2
