"""Runs that begin later, and runs whose time is up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import cut_off, eventually, given_time
from tests.faults import Counting, watched_app

type Context = loom.WorkflowContext[Any, Any]

seen: list[Any] = []


@loom.activity
async def endless(what: Any) -> None:
    seen.append(("began", what))
    try:
        await asyncio.sleep(3600)
    finally:
        seen.append(("stopped", what))


@loom.workflow
class Waiting(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        seen.append("code")
        return [ctx.input, await ctx.wait_for_signal("go")]


@loom.workflow
class Working(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> None:
        await ctx.activity(endless, ctx.input)


@loom.workflow
class Parent(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        await ctx.start_child(Waiting, id="child")
        await ctx.wait_for_signal("never")
        return ""


@loom.workflow
class Chain(loom.Workflow[int, Any]):
    """As long a chain as there is time for."""

    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> None:
        await ctx.sleep(0.05)
        ctx.continue_as_new(ctx.input + 1)


ALL: dict[str, Any] = {"workflows": [Waiting, Working, Parent, Chain], "activities": [endless]}


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@pytest.fixture(params=["beside its worker", "elsewhere"])
async def app(any_dsn: str, request: pytest.FixtureRequest) -> Any:
    """The application that starts; a worker is there, of its own or of another."""
    async with loom.Loom(any_dsn) as app, loom.Loom(any_dsn) as other:
        worker = app if request.param == "beside its worker" else other
        async with worker.worker(**ALL):
            yield app


async def has_status(handle: loom.WorkflowHandle[Any], status: RunStatus) -> bool:
    return await handle.status() is status


# --- later ---------------------------------------------------------------------------------------


async def test_a_delayed_run_begins_when_it_is_to_begin(app: loom.Loom) -> None:
    handle = await app.start(Waiting, 1, delay=0.3)
    info = await handle.info()
    assert info.start_at is not None
    assert info.start_at > info.created_at
    await handle.signal("go", "early")
    assert await handle.result(30) == [1, "early"]
    [started, *_] = await handle.history()
    assert started.recorded_at >= info.start_at


async def test_a_moment_that_has_passed_is_now(app: loom.Loom) -> None:
    handle = await app.start(Waiting, 1, start_at=datetime(2020, 1, 1, tzinfo=UTC))
    await handle.signal("go", 2)
    assert await handle.result(30) == [1, 2]


async def test_nobody_begins_a_run_that_is_to_begin_in_an_hour(app: loom.Loom) -> None:
    delayed = await app.start(Waiting, 1, delay=timedelta(hours=1))
    await delayed.signal("go")
    at_once = await app.start(Waiting, 2)
    await at_once.signal("go")
    assert await at_once.result(30) == [2, None]
    info = await delayed.info()
    assert (info.status, info.history_length, info.worker) == (RunStatus.RUNNING, 0, None)
    assert seen == ["code"]


async def test_a_delayed_run_is_cancelled_at_once_and_its_code_never_begins(
    app: loom.Loom,
) -> None:
    handle = await app.start(Waiting, 1, delay=3600)
    await handle.signal("go")
    await handle.cancel(reason="not needed")
    with pytest.raises(loom.WorkflowCancelledError, match="not needed"):
        await handle.result(30)
    types = [event.type for event in await handle.history()]
    assert types == ["WORKFLOW_STARTED", "WORKFLOW_CANCEL_REQUESTED", "WORKFLOW_CANCELLED"]
    assert seen == []


async def test_a_delayed_run_is_terminated_at_once(app: loom.Loom) -> None:
    handle = await app.start(Waiting, 1, delay=3600)
    await handle.terminate(reason="enough")
    with pytest.raises(loom.WorkflowTerminatedError, match="enough"):
        await handle.result(30)
    assert seen == []


async def test_a_delayed_run_can_be_cancelled_where_nobody_works(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        handle = await app.start("Waiting", 1, delay=3600)
        await handle.cancel()
        assert await handle.status() is RunStatus.CANCELLED


async def test_what_was_ended_before_it_began_replays(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        handles = [await app.start(Waiting, n, delay=3600) for n in range(2)]
        await handles[0].cancel()
        await handles[1].terminate()
        for handle in handles:
            result = loom.Replayer([Waiting]).replay(await handle.export())
            assert result.outcome is loom.ReplayOutcome.OK, result


async def test_a_delayed_start_is_one_commit(any_dsn: str) -> None:
    counting = Counting()
    async with watched_app(any_dsn, counting) as app, app.worker(**ALL):
        await app.start(Waiting, delay=3600, run_timeout=5, tags={"n": 5})
        assert counting.commits == 1


# --- time is up ----------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["run_timeout", "execution_timeout"])
async def test_a_waiting_run_ends_when_its_time_is_up(app: loom.Loom, option: Any) -> None:
    options: dict[str, Any] = {option: timedelta(seconds=0.2)}
    handle = await app.start(Waiting, 1, **options)
    assert (await handle.info()).deadline is not None
    with pytest.raises(loom.WorkflowTimedOutError, match="time"):
        await handle.result(30)
    assert await handle.status() is RunStatus.TIMED_OUT
    with pytest.raises(loom.WorkflowClosedError):
        await handle.signal("go")


async def test_its_activities_are_stopped(app: loom.Loom) -> None:
    await given_time(lambda seconds: is_stopped(app, seconds), 0.3, 2, 15)


async def test_activities_that_run_elsewhere_are_stopped(any_dsn: str) -> None:
    async with (
        loom.Loom(any_dsn) as app,
        loom.Loom(any_dsn) as other,
        app.worker(workflows=[Working]),
        other.worker(activities=[endless]),
    ):
        await given_time(lambda seconds: is_stopped(app, seconds), 0.5, 2, 15)


async def is_stopped(app: loom.Loom, seconds: float) -> None:
    handle = await app.start(Working, seconds, run_timeout=seconds)
    with pytest.raises(loom.WorkflowTimedOutError):
        await handle.result(30)
    assert ("began", seconds) in seen
    await eventually(lambda: ("stopped", seconds) in seen)
    assert (await handle.info()).activities == []


async def test_a_run_whose_worker_died_times_out_at_the_next(any_dsn: str) -> None:
    async with loom.Loom(any_dsn, settings=loom.Settings(lease_seconds=0.5)) as app:
        async with app.worker(**ALL) as dying:
            handle = await app.start(Working, 1, run_timeout=0.2)
            cut_off(dying)
        async with app.worker(**ALL):
            with pytest.raises(loom.WorkflowTimedOutError):
                await handle.result(30)


async def test_a_run_that_nobody_took_times_out_when_somebody_comes(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        handle = await app.start("Waiting", 1, run_timeout=0.01)
        await asyncio.sleep(0.02)
        async with app.worker(**ALL):
            with pytest.raises(loom.WorkflowTimedOutError):
                await handle.result(30)


@pytest.mark.parametrize(
    ("options", "whose"),
    [
        ({"run_timeout": 0.3}, "its time was up"),
        ({"run_timeout": 60, "execution_timeout": 0.3}, "the time of its whole chain was up"),
    ],
)
async def test_a_blocked_run_times_out(app: loom.Loom, options: Any, whose: str) -> None:
    # Started by name, with what is no input of it.
    handle = await app.start("Chain", "text", **options)
    with pytest.raises(loom.WorkflowTimedOutError, match=whose):
        await handle.result(30)
    begun, ended = await handle.history()
    assert (begun.type, ended.type) == ("WORKFLOW_STARTED", "WORKFLOW_TIMED_OUT")
    assert bool(ended.attributes.get("of_chain")) is ("chain" in whose)


async def test_the_time_of_a_delayed_run_counts_from_when_it_may_begin(app: loom.Loom) -> None:
    handle = await app.start(Waiting, 1, delay=3600, run_timeout=60)
    info = await handle.info()
    assert info.start_at is not None
    assert info.deadline == info.start_at + timedelta(seconds=60)


async def test_the_parent_and_the_children_are_told(app: loom.Loom) -> None:
    async def trial(seconds: float) -> None:
        parent = await app.start(Parent, run_timeout=seconds)
        with pytest.raises(loom.WorkflowTimedOutError):
            await parent.result(30)
        assert await app.count(id="child") == 1
        child = app.handle("child")
        await eventually(lambda: has_status(child, RunStatus.TERMINATED))

    await given_time(trial, 0.5, 2, 15)


async def test_a_chain_has_an_end_though_each_of_its_runs_is_brief(app: loom.Loom) -> None:
    handle = await app.start(Chain, 1, id="chain", run_timeout=20, execution_timeout=0.6)
    with pytest.raises(loom.WorkflowTimedOutError, match="chain"):
        await handle.result(30)
    runs = await app.list(id="chain")
    # How many fit into its time is the machine's business.
    assert len({run.deadline for run in runs}) == 1
    assert {run.status for run in runs[1:]} <= {RunStatus.CONTINUED_AS_NEW}


# --- bad options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"delay": 5, "start_at": datetime(2026, 5, 1, tzinfo=UTC)}, "either"),
        ({"delay": -1}, "negative"),
        ({"delay": float("nan")}, "number of seconds, not nan"),
        ({"start_at": datetime(2026, 5, 1)}, "time zone"),
        ({"run_timeout": 0}, "greater than 0"),
        ({"execution_timeout": timedelta(seconds=-1)}, "greater than 0"),
    ],
)
async def test_times_that_mean_nothing_are_refused(app: loom.Loom, options: Any, why: str) -> None:
    with pytest.raises(loom.ConfigurationError, match=why):
        await app.start(Waiting, **options)
    assert await app.list() == []
