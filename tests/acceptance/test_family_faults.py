"""Parents, children and chains, whatever call to the store goes wrong, and however."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.acceptance.test_faults import insist
from tests.conditions import cut_off
from tests.faults import Fault, Faulty, sweep, watched_app


@loom.activity
async def upper(what: str) -> str:
    return what.upper()


@loom.workflow
class Leaf(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        return await ctx.activity(upper, ctx.input)


@loom.workflow
class Chain(loom.Workflow[int, dict[str, Any]]):
    """Takes a signal in each of its runs."""

    async def run(self, ctx: loom.WorkflowContext[int, dict[str, Any]]) -> list[int]:
        items: list[int] = ctx.state.get("items", [])
        items.append(await ctx.wait_for_signal("item", type=int))
        await ctx.state.set("items", items)
        if ctx.input > 1:
            ctx.continue_as_new(ctx.input - 1)
        return items


@loom.workflow
class Root(loom.Workflow[list[Any], Any]):
    async def run(self, ctx: loom.WorkflowContext[list[Any], Any]) -> list[Any]:
        found = [*ctx.input]
        if found:
            return [*found, await ctx.child(Leaf, "c", id="c")]
        chain = await ctx.start_child(Chain, 3, id="chain")
        leaves = asyncio.gather(*(ctx.child(Leaf, leaf, id=leaf) for leaf in "ab"))
        for number in range(3):
            await chain.signal("item", number)
        found += await leaves
        try:
            await ctx.child(Leaf, "never", id=ctx.workflow_id)
        except loom.ChildWorkflowNotStartedError:
            found.append("taken")
        return ctx.continue_as_new([*found, await chain.result()])


STRIDE = 9
"""Calls from one that goes wrong to the next. Each kind of fault begins at another."""

EXPECTED = ["A", "B", "taken", [0, 1, 2], "C"]
RUNS = Counter({"e": 2, "chain": 3, "a": 1, "b": 1, "c": 1})
SHAPE = Counter(
    {
        "WORKFLOW_STARTED": 8,
        "STATE_CARRIED": 2,
        "CHILD_STARTED": 5,
        "CHILD_COMPLETED": 4,
        "CHILD_FAILED": 1,
        "SIGNAL_SENT": 3,
        "SIGNAL_RECEIVED": 3,
        "STATE_SET": 3,
        "ACTIVITY_SCHEDULED": 3,
        "ACTIVITY_COMPLETED": 3,
        "WORKFLOW_CONTINUED_AS_NEW": 3,
        "WORKFLOW_COMPLETED": 5,
    }
)


def worker_of(app: loom.Loom) -> loom.Worker:
    return app.worker(workflows=[Leaf, Chain, Root], activities=[upper])


async def talk(app: loom.Loom) -> list[Any]:
    await insist(lambda: app.start(Root, [], id="e", idempotency_key="once"))
    handle = app.handle("e", workflow=Root)
    return await insist(lambda: handle.result(30))


async def check(app: loom.Loom) -> None:
    """Every run once, closed, and each thing once in some history."""
    runs = await app.list()
    assert Counter(run.workflow_id for run in runs) == RUNS
    assert all(run.status in (RunStatus.COMPLETED, RunStatus.CONTINUED_AS_NEW) for run in runs)
    seen: Counter[str] = Counter()
    for run in runs:
        # Signals that the chain had not asked for are carried, and so are in several histories.
        received = set()
        for event in await app.handle(run.workflow_id, run_id=run.run_id).history():
            seen[event.type] += event.type != "SIGNAL_RECEIVED"
            if event.type == "SIGNAL_RECEIVED":
                received.add(event.value)
        assert len(received) <= 3
    seen["SIGNAL_RECEIVED"] = 3
    assert seen == SHAPE


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.CRASH])
async def test_any_call_may_go_wrong_once(
    any_dsn: str, fault: Fault, new_dsn: Callable[[], str]
) -> None:
    async def trial(n: int) -> bool:
        faulty = Faulty(fault, n)
        async with watched_app(new_dsn(), faulty, lease_seconds=0.5) as app:
            async with worker_of(app):
                assert await talk(app) == EXPECTED
            await check(app)
        return faulty.struck.is_set()

    await sweep(trial, 1 + list(Fault).index(fault) % STRIDE, STRIDE)


async def test_the_process_may_die_at_any_call(any_dsn: str, new_dsn: Callable[[], str]) -> None:
    async def trial(n: int) -> bool:
        dsn = new_dsn()
        async with loom.Loom(dsn, settings=loom.Settings(lease_seconds=0.5)) as survivor:
            struck = await die_at(n, dsn)
            async with worker_of(survivor):
                assert await talk(survivor) == EXPECTED
            await check(survivor)
        return struck

    await sweep(trial, 2, STRIDE)


async def die_at(n: int, dsn: str) -> bool:
    """Work until the n-th call, as a process that is then gone."""
    crashing = Faulty(Fault.CRASH, n)
    async with (
        watched_app(dsn, crashing, lease_seconds=0.5, shutdown_grace_seconds=0) as app,
        worker_of(app) as worker,
    ):
        talking = asyncio.create_task(talk(app))
        striking = asyncio.create_task(crashing.struck.wait())
        await asyncio.wait((talking, striking), return_when=asyncio.FIRST_COMPLETED)
        cut_off(worker)
        talking.cancel()
        striking.cancel()
        await asyncio.wait((talking, striking))
    return crashing.struck.is_set()
