"""At most one open run has a workflow id."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from loom import RunStatus

type Context = loom.WorkflowContext[Any, Any]


@loom.workflow
class Waiting(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return [ctx.input, await ctx.wait_for_signal("go")]


@loom.workflow
class Elsewhere(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> None: ...


@loom.workflow
class Other(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> None: ...


@pytest.fixture(params=["with a worker", "without"])
async def app(any_dsn: str, request: pytest.FixtureRequest) -> Any:
    async with loom.Loom(any_dsn) as app:
        workflows = [Waiting, Other] if request.param == "with a worker" else [Elsewhere]
        async with app.worker(workflows=workflows):
            yield app


async def test_a_second_start_gets_the_run_that_is_open(app: loom.Loom) -> None:
    first = await app.start(Waiting, 1, id="x")
    second = await app.start(Waiting, 2, id="x")
    assert first.run_id == second.run_id
    assert (first.is_new, second.is_new) == (True, False)
    assert len(await app.list()) == 1


async def test_a_second_start_is_refused_when_asked(app: loom.Loom) -> None:
    await app.start(Waiting, 1, id="x")
    with pytest.raises(loom.WorkflowAlreadyStartedError, match="'x'"):
        await app.start(Waiting, 1, id="x", on_conflict="fail")


@pytest.mark.parametrize("policy", ["use_existing", "fail"])
async def test_the_open_run_of_another_workflow_is_never_taken_for_its_own(
    app: loom.Loom, policy: Any
) -> None:
    await app.start(Waiting, 1, id="x")
    with pytest.raises(loom.WorkflowAlreadyStartedError, match="Waiting"):
        await app.start(Other, id="x", on_conflict=policy)


async def test_a_closed_runs_id_may_be_used_again(app: loom.Loom) -> None:
    first = await app.start(Waiting, 1, id="x")
    await first.terminate()
    second = await app.start(Waiting, 2, id="x", on_conflict="fail")
    assert second.run_id != first.run_id
    # A handle by the id alone means the newest, one from a start its own.
    assert await app.handle("x").status() is RunStatus.RUNNING
    assert await first.status() is RunStatus.TERMINATED
    with pytest.raises(loom.WorkflowClosedError):
        await first.signal("go")
    assert [run.run_id for run in await app.list(id="x")] == [second.run_id, first.run_id]


async def test_of_many_starts_at_once_one_creates_the_run(app: loom.Loom) -> None:
    starts = (app.start(Waiting, n, id="x", on_conflict="fail") for n in range(20))
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    created = [o for o in outcomes if isinstance(o, loom.WorkflowHandle)]
    refused = [o for o in outcomes if isinstance(o, loom.WorkflowAlreadyStartedError)]
    assert (len(created), len(refused)) == (1, 19)
    assert len(await app.list()) == 1
