"""Code that would not replay is caught before anything of it is written, and mended by a deploy."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually

type Context = loom.WorkflowContext[Any, Any]


@loom.activity
async def stamp(at: float) -> str:
    return f"stamped at {at:.0f}" if at else "stamped"


@loom.workflow(name="Stamping")
class Careless(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        first = await ctx.activity(stamp, 0)
        return first + await ctx.activity(stamp, time.time())


@loom.workflow(name="Stamping")
class Mended(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        first = await ctx.activity(stamp, 0)
        return first + " and " + await ctx.activity(stamp, ctx.now().timestamp())


@loom.workflow(name="Forgetting")
class Forgetful(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        ctx.activity(stamp, 0)  # type: ignore[unused-coroutine]
        return "done"


@loom.workflow(name="Forgetting")
class Attentive(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(stamp, 0)


@loom.workflow(name="Direct")
class Direct(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await stamp(0)


@loom.workflow(name="Direct")
class Indirect(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(stamp, 0)


async def reaches(handle: loom.WorkflowHandle[Any], status: RunStatus) -> None:
    async def holds() -> bool:
        return await handle.status() is status

    await eventually(holds)


async def test_a_run_that_reads_the_clock_is_blocked_and_goes_on_once_it_is_mended(
    app: loom.Loom,
) -> None:
    async with app.worker(workflows=[Careless], activities=[stamp]):
        handle = await app.start(Careless)
        await reaches(handle, RunStatus.BLOCKED)
    reason = (await handle.info()).blocked_reason or ""
    line = Careless.__dict__["run"].__code__.co_firstlineno + 2
    assert "called time.time(), which reads this machine's clock" in reason
    assert f"at {__file__}:{line} in Careless.run: return first" in reason
    assert "use ctx.now()" in reason
    scheduled = [e.type for e in await handle.history() if e.type == "ACTIVITY_SCHEDULED"]
    assert len(scheduled) == 1
    async with app.worker(workflows=[Mended], activities=[stamp]):
        assert (await handle.result(30)).startswith("stamped and stamped at 1")


async def test_guards_that_only_warn_let_the_run_go_on(
    any_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = loom.Settings(guards="warn")
    async with (
        loom.Loom(any_dsn, settings=settings) as app,
        app.worker(workflows=[Careless], activities=[stamp]),
    ):
        assert "stamped at" in await (await app.start(Careless)).result(30)


async def test_an_activity_may_do_what_its_workflow_may_not(app: loom.Loom) -> None:
    def moment() -> float:
        return time.time()

    @loom.activity
    async def later() -> float:
        await asyncio.sleep(0)
        return moment()

    @loom.activity
    def in_a_thread() -> float:
        return moment()

    @loom.workflow
    class Timing(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> bool:
            times = await asyncio.gather(ctx.activity(later), ctx.activity(in_a_thread))
            with loom.unguarded():
                return all(times) and moment() > 0

    async with app.worker(workflows=[Timing], activities=[later, in_a_thread]):
        assert await (await app.start(Timing)).result(30) is True


@loom.workflow
class Shuffling(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> list[str]:
        names = {"ant", "bee", "cat"}
        return [await ctx.activity(stamp, len(name)) for name in names]


@loom.workflow
class Excused(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> int:
        total = 0
        for name in {"ant", "bee"}:  # loom: ignore[set-iteration]
            total += len(name)
        return total


async def test_a_worker_refuses_code_that_goes_through_a_set(app: loom.Loom) -> None:
    with pytest.raises(loom.DefinitionError) as caught:
        app.worker(workflows=[Excused, Shuffling], activities=[stamp])
    line = Shuffling.__dict__["run"].__code__.co_firstlineno + 2
    (place,) = [text for text in str(caught.value).splitlines() if __file__ in text]
    assert f"{__file__}:{line}:" in place
    assert "Iterating over names goes through a set" in place
    assert "sorted(...)" in place
    async with app.worker(workflows=[Excused]):
        assert await (await app.start(Excused)).result(30) == 6


async def test_guards_that_warn_let_a_worker_go_through_sets(
    memory_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    for guards, lines in (("warn", 1), ("off", 0)):
        caplog.clear()
        async with loom.Loom(memory_dsn, settings=loom.Settings.load(guards=guards)) as app:
            app.worker(workflows=[Shuffling], activities=[stamp])
        assert len(caplog.records) == lines
        assert all("Iterating over names" in record.message for record in caplog.records)


async def test_a_workflow_that_keeps_its_workers_loop_is_reported_and_goes_on(
    memory_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    def reported() -> bool:
        return "kept its worker's event loop" in caplog.text

    @loom.workflow
    class Blocking(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> str:
            with loom.unguarded():
                deadline = time.monotonic() + 20
                while not reported() and time.monotonic() < deadline:
                    time.sleep(0.01)
            return "done"

    settings = loom.Settings.load(slow_turn_seconds=0.05)
    async with (
        loom.Loom(memory_dsn, settings=settings) as app,
        app.worker(workflows=[Blocking]),
    ):
        assert await (await app.start(Blocking, id="blocks")).result(30) == "done"
    (record,) = [r for r in caplog.records if "kept its worker's" in r.message]
    assert record.message.startswith("workflow blocks (run ")
    assert "time.sleep(0.01)" in record.message


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("broken", "mended", "why"),
    [
        (Forgetful, Attentive, "called ctx.activity(), which is never awaited"),
        (Direct, Indirect, "use `await ctx.activity(stamp, ...)`"),
    ],
)
async def test_what_was_never_asked_for_blocks_the_run_until_it_is_mended(
    app: loom.Loom, broken: Any, mended: Any, why: str
) -> None:
    async with app.worker(workflows=[broken], activities=[stamp]):
        handle = await app.start(broken)
        await reaches(handle, RunStatus.BLOCKED)
    reason = (await handle.info()).blocked_reason or ""
    line = broken.__dict__["run"].__code__.co_firstlineno + 1
    assert why in reason
    assert f"at {__file__}:{line} in {broken.__name__}.run: " in reason
    async with app.worker(workflows=[mended], activities=[stamp]):
        assert await handle.result(30) == "stamped"
