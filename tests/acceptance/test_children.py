"""Children as their parents have them: started, awaited, let go, ended with them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually


@loom.activity
async def double(number: int) -> int:
    return number * 2


@loom.workflow
class Double(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        return await ctx.activity(double, ctx.input)


@loom.workflow
class Fails(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> None:
        raise ValueError(ctx.input)


@loom.workflow
class Waits(loom.Workflow[None, Any]):
    """Until a signal comes; says so when it is cancelled."""

    async def run(self, ctx: loom.WorkflowContext[None, Any]) -> str:
        try:
            got: str = await ctx.wait_for_signal("go", type=str)
        except asyncio.CancelledError:
            await ctx.activity(double, 1)
            raise
        return got


@loom.workflow
class Sums(loom.Workflow[list[int], Any]):
    async def run(self, ctx: loom.WorkflowContext[list[int], Any]) -> int:
        return sum(await asyncio.gather(*(ctx.child(Double, n) for n in ctx.input)))


@loom.workflow
class Catches(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        try:
            await ctx.child(Fails, ctx.input)
        except loom.ChildWorkflowFailedError as error:
            return f"{error.workflow} {error.cause_type} {error.cause_message}"
        return "nothing"


@loom.workflow
class Parent(loom.Workflow[dict[str, str], Any]):
    """Has one open child of the given policy, and waits for it, or only for a signal."""

    async def run(self, ctx: loom.WorkflowContext[dict[str, str], Any]) -> Any:
        options: Any = {"parent_close_policy": ctx.input.get("policy", "terminate")}
        child = await ctx.start_child(Waits, id=ctx.input["child"], **options)
        if ctx.input.get("tell"):
            await child.signal("go", ctx.input["tell"])
        if ctx.input.get("wait", "yes") == "no":
            return await ctx.wait_for_signal("end")
        return await child.result()


@loom.workflow
class Awaits(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        return await ctx.child(Waits, id=ctx.input)


@loom.workflow
class Talks(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> None:
        await ctx.signal_workflow(ctx.input, "go", "from another")


@loom.workflow
class CallsOff(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> None:
        await ctx.cancel_workflow(ctx.input, reason="called off")


WORKFLOWS = [Double, Fails, Waits, Sums, Catches, Parent, Awaits, Talks, CallsOff]


def worker_of(app: loom.Loom, **options: Any) -> loom.Worker:
    return app.worker(workflows=WORKFLOWS, activities=[double], **options)


async def stands(app: loom.Loom, id: str) -> RunStatus | None:
    try:
        return await app.handle(id).status()
    except loom.WorkflowNotFoundError:
        return None


async def reach(app: loom.Loom, id: str, status: RunStatus) -> None:
    async def is_there() -> bool:
        return await stands(app, id) is status

    await eventually(is_there)


async def test_a_parent_has_its_childrens_results(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Sums, [1, 2, 3], id="sum")
        assert await handle.result() == 12
        children = [run for run in await app.list() if run.workflow_id.startswith("sum/")]
        assert len(children) == 3
    assert {run.status for run in children} == {RunStatus.COMPLETED}


async def test_a_childs_failure_reaches_its_parent(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Catches, "no")
        assert await handle.result() == "Fails ValueError no"


async def test_a_thousand_children_have_one_parent(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Sums, list(range(1_000)))
        assert await handle.result() == 999_000


async def test_a_child_may_be_worked_on_elsewhere(app: loom.Loom) -> None:
    @loom.workflow
    class Sends(loom.Workflow[int, Any]):
        async def run(self, ctx: loom.WorkflowContext[int, Any]) -> Any:
            return await ctx.child("Double", ctx.input, queue="elsewhere")

    async with app.worker(workflows=[Sends]), worker_of(app, queue="elsewhere"):
        assert await (await app.start(Sends, 4)).result() == 8


async def test_a_parent_talks_to_its_child(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Parent, {"child": "c", "tell": "hello"})
        assert await handle.result() == "hello"


async def test_runs_that_are_no_relatives_talk(app: loom.Loom) -> None:
    async with worker_of(app):
        waiting = await app.start(Waits, id="w")
        await app.start(Talks, "w")
        assert await waiting.result() == "from another"
        cancelled = await app.start(Waits, id="x")
        await app.start(CallsOff, "x")
        with pytest.raises(loom.WorkflowCancelledError, match="called off"):
            await cancelled.result()
        await (await app.start(Talks, "nobody")).result()


async def test_a_taken_id_is_told(app: loom.Loom) -> None:
    async with worker_of(app):
        other = await app.start(Waits, id="taken")
        handle = await app.start(Parent, {"child": "taken"})
        with pytest.raises(loom.WorkflowFailedError, match="taken") as caught:
            await handle.result()
        assert caught.value.cause_type == "loom.errors.ChildWorkflowNotStartedError"
        assert await other.status() is RunStatus.RUNNING


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        ("terminate", RunStatus.TERMINATED),
        ("cancel", RunStatus.CANCELLED),
        ("abandon", RunStatus.RUNNING),
    ],
)
@pytest.mark.parametrize("end", ["complete", "terminate", "cancel"])
async def test_a_parents_close_reaches_its_child(
    app: loom.Loom, policy: str, status: RunStatus, end: str
) -> None:
    async with worker_of(app):
        given = {"child": "c", "policy": policy, "wait": "no"}
        handle = await app.start(Parent, given, id="p")
        await reach(app, "c", RunStatus.RUNNING)
        if end == "complete":
            await handle.signal("end", None)
            await handle.result()
        elif end == "terminate":
            await handle.terminate()
        else:
            await handle.cancel()
        await reach(app, "c", status)
        if status is RunStatus.RUNNING:
            await app.handle("c").signal("go", "on my own")
            assert await app.handle("c").result() == "on my own"


async def test_cancelling_who_awaits_a_child_cancels_the_child_first(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Awaits, "c", id="p")
        await reach(app, "c", RunStatus.RUNNING)
        await handle.cancel(reason="enough")
        with pytest.raises(loom.WorkflowCancelledError):
            await handle.result()
        child = await app.handle("c").history()
        assert child[-1].type == "WORKFLOW_CANCELLED"
        assert child[-1].attributes["reason"] == "enough"
        # It had its time to clean up.
        assert "ACTIVITY_COMPLETED" in [event.type for event in child]
        types = [event.type for event in await handle.history()]
        assert types[-2:] == ["CHILD_FAILED", "WORKFLOW_CANCELLED"]


@pytest.mark.parametrize("end", ["cancel", "terminate"])
async def test_a_childs_own_end_reaches_its_parent(app: loom.Loom, end: str) -> None:
    async with worker_of(app):
        handle = await app.start(Parent, {"child": "c"})
        await reach(app, "c", RunStatus.RUNNING)
        await getattr(app.handle("c"), end)(reason="from outside")
        with pytest.raises(loom.WorkflowFailedError, match="from outside"):
            await handle.result()


async def test_a_blocked_parent_that_is_terminated_takes_its_child_along(app: loom.Loom) -> None:
    async with worker_of(app):
        await app.start(Parent, {"child": "c", "wait": "no"}, id="p")
        await reach(app, "c", RunStatus.RUNNING)

    @loom.workflow(name="Parent")
    class Other(loom.Workflow[dict[str, str], Any]):
        async def run(self, ctx: loom.WorkflowContext[dict[str, str], Any]) -> None:
            await ctx.sleep(1)

    async with app.worker(workflows=[Other]):
        await app.handle("p").signal("end")
        await reach(app, "p", RunStatus.BLOCKED)
        await app.handle("p").terminate()
    async with app.worker(workflows=[Waits], activities=[double]):
        await reach(app, "c", RunStatus.TERMINATED)


async def test_a_child_that_is_terminated_with_no_worker_about_tells_its_parent(
    app: loom.Loom,
) -> None:
    async with worker_of(app):
        handle = await app.start(Parent, {"child": "c"})
        await reach(app, "c", RunStatus.RUNNING)
    await app.handle("c").terminate(reason="nobody there")
    async with worker_of(app):
        with pytest.raises(loom.WorkflowFailedError, match="nobody there"):
            await handle.result()
