"""Whether an id may be used again, and starts that may be repeated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually
from tests.faults import Counting, Deaf, watched_app

type Context = loom.WorkflowContext[Any, Any]

charged: list[Any] = []


@loom.activity
async def charge(what: Any) -> Any:
    charged.append(what)
    await asyncio.sleep(0.01)
    return what


@loom.workflow
class Brief(loom.Workflow[Any, Any]):
    """Over with its first turn."""

    async def run(self, ctx: Context) -> Any:
        if ctx.input == "fail":
            raise ValueError("as asked")
        return ctx.input


@loom.workflow
class Working(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.activity(charge, ctx.input)


@loom.workflow
class Waiting(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return [ctx.input, await ctx.wait_for_signal("go")]


ALL: dict[str, Any] = {"workflows": [Brief, Working, Waiting], "activities": [charge]}


@pytest.fixture(params=["with a worker", "without"])
async def app(any_dsn: str, request: pytest.FixtureRequest) -> Any:
    """The runs are started beside their worker, or by an application that has none."""
    charged.clear()
    async with loom.Loom(any_dsn) as app, loom.Loom(any_dsn) as other:
        worker = app if request.param == "with a worker" else other
        async with worker.worker(**ALL):
            yield app


# --- reuse ---------------------------------------------------------------------------------------


async def test_an_id_is_used_again_by_default(app: loom.Loom) -> None:
    first = await app.start(Brief, 1, id="x")
    assert await first.result(30) == 1
    second = await app.start(Brief, 2, id="x")
    assert await second.result(30) == 2
    assert first.run_id != second.run_id


async def test_an_id_that_may_not_be_used_again_is_refused(app: loom.Loom) -> None:
    first = await app.start(Brief, 1, id="x", reuse="reject")
    assert await first.result(30) == 1
    with pytest.raises(loom.WorkflowAlreadyStartedError, match=r"COMPLETED.*'reject'"):
        await app.start(Brief, 2, id="x", reuse="reject")
    assert len(await app.list()) == 1


async def test_an_id_may_be_used_again_only_after_a_failure(app: loom.Loom) -> None:
    for _ in range(2):
        failing = await app.start(Brief, "fail", id="x", reuse="allow_failed")
        with pytest.raises(loom.WorkflowFailedError):
            await failing.result(30)
    stopped = await app.start(Waiting, id="x", reuse="allow_failed")
    await stopped.terminate()
    good = await app.start(Brief, 1, id="x", reuse="allow_failed")
    assert await good.result(30) == 1
    with pytest.raises(loom.WorkflowAlreadyStartedError, match=r"COMPLETED.*'allow_failed'"):
        await app.start(Brief, 2, id="x", reuse="allow_failed")


async def test_an_open_run_is_a_matter_of_conflict_not_of_reuse(app: loom.Loom) -> None:
    first = await app.start(Waiting, 1, id="x", reuse="reject")
    second = await app.start(Waiting, 2, id="x", reuse="reject")
    assert second.run_id == first.run_id


async def test_of_many_brief_starts_at_once_one_is_let_through(app: loom.Loom) -> None:
    starts = (app.start(Brief, n, id="x", reuse="reject") for n in range(20))
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    handles = [one for one in outcomes if isinstance(one, loom.WorkflowHandle)]
    assert len({handle.run_id for handle in handles}) == len(await app.list()) == 1


# --- terminating what is in the way --------------------------------------------------------------


async def test_an_open_run_is_terminated_for_a_newer_one(app: loom.Loom) -> None:
    first = await app.start(Waiting, 1, id="x")
    second = await app.start(Waiting, 2, id="x", on_conflict="terminate_existing")
    assert await first.status() is RunStatus.TERMINATED
    with pytest.raises(loom.WorkflowTerminatedError, match="in its place"):
        await first.result()
    await second.signal("go", "now")
    assert await second.result(30) == [2, "now"]


async def test_a_start_by_name_terminates_what_is_in_its_way_too(app: loom.Loom) -> None:
    first = await app.start(Waiting, 1, id="x")
    second = await app.start("Waiting", 2, id="x", on_conflict="terminate_existing")
    assert await first.status() is RunStatus.TERMINATED
    assert await second.status() is RunStatus.RUNNING


async def test_a_run_of_another_workflow_is_not_terminated(app: loom.Loom) -> None:
    other = await app.start(Waiting, 1, id="x")
    with pytest.raises(loom.WorkflowAlreadyStartedError, match="Waiting"):
        await app.start(Brief, 2, id="x", on_conflict="terminate_existing")
    assert await other.status() is RunStatus.RUNNING


async def test_nothing_is_terminated_for_an_input_that_does_not_fit(app: loom.Loom) -> None:
    first = await app.start(Waiting, 1, id="x")
    with pytest.raises(loom.PayloadError):
        await app.start(Waiting, object(), id="x", on_conflict="terminate_existing")
    assert await first.status() is RunStatus.RUNNING


async def test_of_several_that_take_each_others_place_one_is_left(app: loom.Loom) -> None:
    starts = (app.start(Waiting, n, id="x", on_conflict="terminate_existing") for n in range(5))
    await asyncio.gather(*starts)
    assert await app.count(id="x", open=True) == 1


# --- keys ----------------------------------------------------------------------------------------


async def test_a_start_with_the_same_key_is_the_same_run_even_when_it_has_ended(
    app: loom.Loom,
) -> None:
    first = await app.start(Working, 1, idempotency_key="k")
    assert await first.result(30) == 1
    again = await app.start(Working, 2, idempotency_key="k", on_conflict="fail", reuse="reject")
    assert (again.workflow_id, again.run_id) == (first.workflow_id, first.run_id)
    assert await again.result() == 1
    assert charged == [1]


async def test_of_many_starts_with_one_key_one_does_the_work(app: loom.Loom) -> None:
    starts = (app.start(Working, n, idempotency_key="k") for n in range(20))
    handles = await asyncio.gather(*starts)
    assert len({handle.run_id for handle in handles}) == 1
    result = await handles[0].result(30)
    assert [await handle.result() for handle in handles] == [result] * 20
    assert charged == [result]


async def test_a_key_belongs_to_its_workflow_or_to_its_id(app: loom.Loom) -> None:
    handles = [
        await app.start(Brief, 1, idempotency_key="k"),
        await app.start(Brief, 1, idempotency_key="l"),
        await app.start(Waiting, 1, idempotency_key="k"),
        await app.start(Brief, 1, id="x", idempotency_key="k"),
        await app.start(Brief, 1, id="y", idempotency_key="k"),
    ]
    assert len({handle.run_id for handle in handles}) == 5
    with pytest.raises(loom.WorkflowAlreadyStartedError, match="not 'Working'"):
        await app.start(Working, id="x", idempotency_key="k")


async def test_a_key_finds_its_run_though_another_is_open(app: loom.Loom) -> None:
    first = await app.start(Brief, 1, id="x", idempotency_key="k")
    await first.result(30)
    await app.start(Waiting, id="x")
    again = await app.start(Brief, 1, id="x", idempotency_key="k")
    assert again.run_id == first.run_id


@pytest.mark.parametrize("workflow", [Working, Brief, Waiting])
async def test_a_start_whose_answer_was_lost_is_repeated_by_its_key(
    any_dsn: str, workflow: type[loom.Workflow[Any, Any]]
) -> None:
    charged.clear()
    deaf = Deaf("start_runs")
    async with watched_app(any_dsn, deaf, lease_seconds=0.5) as app, app.worker(**ALL):
        with pytest.raises(loom.StoreUnavailableError):
            await app.start(workflow, 1, idempotency_key="k")
        handle = await app.start(workflow, 1, idempotency_key="k")
        if workflow is Waiting:
            await handle.signal("go")
        await handle.result(30)
        assert len(await app.list()) == 1
        assert len(charged) <= 1


async def test_a_keyed_start_beside_its_worker_is_one_commit(any_dsn: str) -> None:
    counting = Counting()
    async with watched_app(any_dsn, counting) as app, app.worker(**ALL):
        await app.start(Waiting, idempotency_key="k", reuse="reject", tags={"n": 5})
        assert counting.commits == 1
        await app.start(Waiting, idempotency_key="k")
        assert counting.commits == 2


async def test_a_run_goes_on_where_it_was_started_when_its_start_is_repeated(
    any_dsn: str,
) -> None:
    async with loom.Loom(any_dsn) as app, app.worker(**ALL):
        first = await app.start(Waiting, 1, idempotency_key="k")
        await eventually(lambda: is_idle(first))
        await app.start(Waiting, 2, idempotency_key="k")
        await first.signal("go", "now")
        assert await first.result(30) == [1, "now"]


async def is_idle(handle: loom.WorkflowHandle[Any]) -> bool:
    return (await handle.info()).worker is None


# --- bad options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"on_conflict": "maybe"}, "on_conflict='maybe'"),
        ({"reuse": "never"}, "reuse='never'"),
        ({"reuse": "reject", "on_conflict": "terminate_existing"}, "terminate_existing"),
    ],
)
async def test_options_that_mean_nothing_are_refused(
    app: loom.Loom, options: Any, why: str
) -> None:
    with pytest.raises(loom.ConfigurationError, match=why):
        await app.start(Brief, **options)
    with pytest.raises(loom.ConfigurationError, match=why):
        await Brief.start(**options)
    assert await app.list() == []


async def test_a_key_that_no_store_can_hold_is_refused(app: loom.Loom) -> None:
    with pytest.raises(loom.PayloadError, match="idempotency key"):
        await app.start(Brief, idempotency_key="")
