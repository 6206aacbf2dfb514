"""Every open run against the code about to be deployed, while the old code goes on with them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

import loom
from loom import ReplayOutcome
from loom.runner import checking
from tests.conditions import eventually
from tests.faults import Counting, Interceptor, watched_app
from tests.tampering import tamper

type Context = loom.WorkflowContext[Any, Any]

OK, BROKEN = ReplayOutcome.OK, ReplayOutcome.BROKEN
UNSERVED, UNREADABLE = ReplayOutcome.UNSERVED, ReplayOutcome.UNREADABLE


@loom.activity
async def pack(item: str) -> str:
    return f"packed {item}"


@loom.activity
async def label(item: str) -> str:
    return f"labelled {item}"


@loom.workflow(name="Sending")
class Deployed(loom.Workflow[str, None]):
    async def run(self, ctx: Context) -> str:
        await ctx.activity(pack, ctx.input)
        await ctx.wait_for_signal("address")
        return await ctx.activity(label, ctx.input)


@loom.workflow(name="Sending")
class Compatible(loom.Workflow[str, None]):
    async def run(self, ctx: Context) -> str:
        await ctx.activity(pack, f"well-wrapped {ctx.input}")
        address: str = await ctx.wait_for_signal("address")
        await ctx.activity(label, address)
        return address


@loom.workflow(name="Sending")
class Reordered(loom.Workflow[str, None]):
    async def run(self, ctx: Context) -> str:
        await ctx.activity(label, ctx.input)
        await ctx.activity(pack, ctx.input)
        return str(await ctx.wait_for_signal("address"))


@loom.workflow(name="Sending", version="2")
class Second(loom.Workflow[str, None]):
    async def run(self, ctx: Context) -> str:
        return str(await ctx.wait_for_signal("address"))


@loom.workflow
class Refund(loom.Workflow[None, None]):
    async def run(self, ctx: Context) -> None:
        await ctx.wait_for_signal("approval")


async def start_open(app: loom.Loom, *ids: str) -> None:
    """Runs that have packed and wait for their address, held by nobody."""
    async with app.worker(workflows=[Deployed, Second, Refund], activities=[pack, label]):
        handles = [await app.start(Deployed, "book", id=id) for id in ids]
        for handle in handles:
            await eventually(lambda handle=handle: _waits_for_its_address(handle))  # type: ignore[misc]


async def _waits_for_its_address(handle: loom.WorkflowHandle[Any]) -> bool:
    info = await handle.info()
    return info.history_length == 3 and info.worker is None


async def close(app: loom.Loom, *ids: str) -> None:
    async with app.worker(workflows=[Deployed], activities=[pack, label]):
        for id in ids:
            await app.handle(id).signal("address", "here")
            await app.handle(id).result()


async def outcomes(app: loom.Loom, *workflows: type, **options: Any) -> dict[str, ReplayOutcome]:
    return {r.workflow_id: r.outcome async for r in app.check(workflows, **options)}


async def test_code_that_fits_is_told_from_code_that_breaks(app: loom.Loom) -> None:
    await start_open(app, "a", "b")
    assert await outcomes(app, Deployed) == {"b": OK, "a": OK}
    assert await outcomes(app, Compatible) == {"b": OK, "a": OK}
    results = [result async for result in app.check([Reordered])]
    assert [(r.workflow_id, r.outcome, r.event) for r in results] == [
        ("b", BROKEN, 2),
        ("a", BROKEN, 2),
    ]
    assert "name='pack'" in str(results[0].error)
    assert "name='label'" in str(results[0].error)


async def test_a_run_that_no_code_serves_is_told(app: loom.Loom) -> None:
    await app.start(Refund, id="refund")
    await app.start(Second, "book", id="second")
    await app.start(Deployed, "book", id="first")
    assert await outcomes(app, Deployed) == {"first": OK, "second": UNSERVED, "refund": UNSERVED}
    assert await outcomes(app, Deployed, name="Sending") == {"first": OK, "second": UNSERVED}
    assert await outcomes(app, Deployed, Second, Refund) == {
        "first": OK,
        "second": OK,
        "refund": OK,
    }


async def test_only_runs_of_the_queue_are_checked(app: loom.Loom) -> None:
    await app.start(Deployed, "book", id="here", queue="here")
    await app.start(Deployed, "book", id="there", queue="there")
    assert await outcomes(app, Deployed, queue="there") == {"there": OK}


async def test_a_sample_of_closed_runs_is_checked_when_it_is_wanted(app: loom.Loom) -> None:
    await start_open(app, "a", "b", "c", "d")
    await close(app, "a", "b", "c")
    assert await outcomes(app, Reordered) == {"d": BROKEN}
    assert await outcomes(app, Reordered, sample=2) == {"d": BROKEN, "c": BROKEN, "b": BROKEN}
    assert await outcomes(app, Deployed, sample=9) == dict.fromkeys("dcba", OK)
    assert await outcomes(app, Deployed, sample=9, queue="other") == {}
    # A closed run of a version that is gone needs no code any more.
    assert await outcomes(app, Second, sample=9) == {"d": UNSERVED}


async def test_all_pages_are_looked_at(app: loom.Loom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_PAGE", 3)
    ids = [f"run-{number}" for number in range(10)]
    for id in ids:
        await app.start(Deployed, "book", id=id)
    await app.handle("run-4").terminate()
    checked = [result.workflow_id async for result in app.check([Deployed])]
    assert checked == [id for id in reversed(ids) if id != "run-4"]
    assert [h.workflow_id async for h in app.histories(open=True)] == checked
    assert [h.workflow_id async for h in app.histories(open=False)] == ["run-4"]
    assert len([h async for h in app.histories(name="Sending")]) == 10


async def test_nothing_is_written_and_nothing_leased(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        await start_open(app, "a", "b")
        before = [await app.handle(id).info() for id in "ab"]
        counting = Counting()
        async with watched_app(any_dsn, counting) as looking:
            assert await outcomes(looking, Reordered, sample=5) == {"a": BROKEN, "b": BROKEN}
        assert counting.commits == 0
        assert [await app.handle(id).info() for id in "ab"] == before


class Growing(Interceptor):
    """Lets the run go on, to its end, between finding it and reading its history."""

    def __init__(self, app: loom.Loom) -> None:
        self._app = app

    async def __call__(self, method: str, call: Any, arguments: tuple[Any, ...]) -> Any:
        if method == "read_history":
            await close(self._app, "a")
        return await call()


async def test_a_run_that_goes_on_meanwhile_is_checked_as_far_as_it_had_come(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        await start_open(app, "a")
        async with watched_app(any_dsn, Growing(app)) as looking:
            (result,) = [result async for result in looking.check([Deployed])]
        assert (result.outcome, result.history_length) == (OK, 3)
        assert (await app.handle("a").info()).history_length > 3


class Deleting(Interceptor):
    """Deletes the run between finding it and reading its history."""

    async def __call__(self, method: str, call: Any, arguments: tuple[Any, ...]) -> Any:
        if method == "find_run":
            return None
        return [] if method == "read_history" else await call()


async def test_a_run_that_is_deleted_meanwhile_is_left_out(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app:
        await start_open(app, "a")
        async with watched_app(any_dsn, Deleting()) as looking:
            assert await outcomes(looking, Deployed) == {}
            assert [history async for history in looking.histories()] == []


async def test_a_damaged_history_is_told_and_the_others_are_checked(dsn: str) -> None:
    async with loom.Loom(dsn) as app:
        await start_open(app, "a", "b")
        await tamper(
            dsn,
            "DELETE FROM events WHERE sequence = 2 AND run_key = "
            "(SELECT run_key FROM workflows WHERE workflow_id = 'a')",
        )
        results = [result async for result in app.check([Deployed])]
        assert [(r.workflow_id, r.outcome) for r in results] == [("b", OK), ("a", UNREADABLE)]
        assert "event 2 is missing" in str(results[1].error)
        with pytest.raises(loom.HistoryError, match="event 2 is missing"):
            await app.handle("a").export()


async def test_runs_are_checked_while_workers_go_on_with_them(any_dsn: str) -> None:
    """The old code is at work all the while, and never once is it reported."""
    async with (
        loom.Loom(any_dsn) as app,
        app.worker(workflows=[Deployed], activities=[pack, label]),
    ):
        handles = [await app.start(Deployed, "book", id=f"run-{n}") for n in range(20)]
        seen: Counter[ReplayOutcome] = Counter()

        async def check() -> None:
            async for result in app.check([Deployed], sample=20):
                seen[result.outcome] += 1

        async def send(handle: loom.WorkflowHandle[str]) -> None:
            await handle.signal("address", "here")
            await handle.result()

        await asyncio.gather(check(), *map(send, handles), check())
        await check()
    assert seen.keys() == {OK}
    assert seen[OK] >= 20
