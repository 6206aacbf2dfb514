"""Ending a run from outside: asking it to end, and ending it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import loom
from loom import RunStatus, Settings
from tests.conditions import cut_off, eventually
from tests.faults import Call, Interceptor, watched_app

type Context = loom.WorkflowContext[Any, Any]


class Trace:
    """What the activities of one test have done."""

    def __init__(self) -> None:
        self.lines: list[str] = []


TRACE = Trace()


@pytest.fixture(autouse=True)
def trace() -> Trace:
    TRACE.lines = []
    return TRACE


@loom.activity
async def hold() -> None:
    TRACE.lines.append("held")
    try:
        await asyncio.Event().wait()
    finally:
        TRACE.lines.append("let go")


@loom.activity
async def clean_up() -> None:
    TRACE.lines.append("cleaned")


@loom.workflow
class Careful(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        try:
            await ctx.activity(hold)
        finally:
            await ctx.activity(clean_up)
        return "done"


@loom.workflow
class Waiting(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.wait_for_signal("go")


@loom.workflow
class Stubborn(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        try:
            await ctx.wait_for_signal("never")
        except asyncio.CancelledError as error:
            return f"no: {error}, but {await ctx.wait_for_signal('enough')}"
        return ""


WORKFLOWS = (Careful, Waiting, Stubborn)
ACTIVITIES = (hold, clean_up)


async def test_a_cancelled_run_cleans_up_and_stops_its_activity(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await app.start(Careful, id="c")
        await eventually(lambda: TRACE.lines == ["held"])
        await handle.cancel(reason="enough")
        with pytest.raises(loom.WorkflowCancelledError, match="enough"):
            await handle.result(30)
        await eventually(lambda: sorted(TRACE.lines) == ["cleaned", "held", "let go"])
    assert await handle.status() is RunStatus.CANCELLED


async def test_cancelling_reaches_an_activity_on_another_worker(any_dsn: str) -> None:
    """It learns it by its lease, which it cannot renew any more."""
    settings = Settings(lease_seconds=0.5)
    async with (
        loom.Loom(any_dsn, settings=settings) as app,
        loom.Loom(any_dsn) as other,
        other.worker(workflows=WORKFLOWS, activities=[clean_up]),
        app.worker(activities=[hold]),
    ):
        handle = await other.start(Careful)
        await eventually(lambda: TRACE.lines == ["held"])
        await handle.cancel()
        with pytest.raises(loom.WorkflowCancelledError):
            await handle.result(30)
        await eventually(lambda: "let go" in TRACE.lines)


async def test_a_run_may_refuse_to_be_cancelled(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS):
        handle = await app.start(Stubborn)
        await handle.cancel(reason="please")
        await handle.cancel(reason="again")
        await handle.signal("enough", "yes")
        assert await handle.result(30) == "no: please, but yes"
        with pytest.raises(loom.WorkflowClosedError):
            await handle.cancel()


async def test_a_run_that_nobody_works_on_is_cancelled_by_whoever_comes(app: loom.Loom) -> None:
    handle = await app.start(Careful)
    await handle.cancel()
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        with pytest.raises(loom.WorkflowCancelledError):
            await handle.result(30)


async def test_a_running_run_is_terminated_without_a_say(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await app.start(Careful, id="t")
        await eventually(lambda: TRACE.lines == ["held"])
        await handle.terminate(reason="now")
        assert await handle.status() is RunStatus.TERMINATED
        with pytest.raises(loom.WorkflowTerminatedError, match="now"):
            await handle.result(30)
        await eventually(lambda: TRACE.lines == ["held", "let go"])
        with pytest.raises(loom.WorkflowClosedError):
            await handle.terminate()
        # Its id is free again.
        assert (await app.start(Waiting, id="t")).run_id != handle.run_id


@pytest.mark.parametrize("worker_is_there", [True, False])
async def test_a_waiting_run_is_terminated(app: loom.Loom, worker_is_there: bool) -> None:
    async with app.worker(workflows=WORKFLOWS):
        handle = await app.start(Waiting)
        if worker_is_there:
            await handle.terminate()
    if not worker_is_there:
        await handle.terminate()
    assert await handle.status() is RunStatus.TERMINATED
    assert [e.type for e in await handle.history()] == ["WORKFLOW_STARTED", "WORKFLOW_TERMINATED"]


async def test_a_run_of_a_kind_that_no_worker_has_is_terminated(app: loom.Loom) -> None:
    async with app.worker(workflows=WORKFLOWS):
        handle = await app.start("Unheard-of", 1)
        waiter = asyncio.create_task(handle.result(30))
        await handle.terminate(reason="nobody can")
        with pytest.raises(loom.WorkflowTerminatedError, match="nobody can"):
            await waiter


async def test_a_terminated_run_is_told_to_those_who_wait_elsewhere(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app, loom.Loom(any_dsn) as other:
        handle = await app.start(Waiting, id="w")
        waiter = asyncio.create_task(other.handle("w").result(30))
        await handle.terminate()
        with pytest.raises(loom.WorkflowTerminatedError):
            await waiter


async def test_everybody_may_terminate_at_once(any_dsn: str) -> None:
    async with (
        loom.Loom(any_dsn) as app,
        loom.Loom(any_dsn) as other,
        app.worker(workflows=WORKFLOWS),
    ):
        handle = await app.start(Waiting, id="w")
        ends = [h.terminate() for h in (handle, handle, other.handle("w"))]
        outcomes = await asyncio.gather(*ends, return_exceptions=True)
    assert all(o is None or isinstance(o, loom.WorkflowClosedError) for o in outcomes), outcomes
    assert None in outcomes


async def test_terminating_leaves_a_run_to_a_silent_holder_only_until_its_lease_ends(
    any_dsn: str,
) -> None:
    settings = Settings(lease_seconds=0.5, shutdown_grace_seconds=0)
    async with (
        loom.Loom(any_dsn, settings=settings) as app,
        loom.Loom(any_dsn) as other,
        app.worker(workflows=WORKFLOWS, activities=ACTIVITIES) as worker,
    ):
        handle = await app.start(Careful, id="c")
        await eventually(lambda: TRACE.lines == ["held"])
        cut_off(worker)
        await other.handle("c").terminate()
        assert await handle.status() is RunStatus.TERMINATED


@pytest.mark.parametrize("bad", [None, 5, b"x"])
async def test_a_reason_that_is_no_text_is_refused(app: loom.Loom, bad: Any) -> None:
    handle = await app.start("Anything")
    for end in (handle.cancel, handle.terminate):
        with pytest.raises(loom.PayloadError, match="reason"):
            await end(reason=bad)
    assert await handle.status() is RunStatus.RUNNING


async def test_a_reason_that_no_store_could_hold_is_written_so_that_it_can(app: loom.Loom) -> None:
    handle = await app.start("Anything")
    await handle.terminate(reason="no\0 \ud800")
    with pytest.raises(loom.WorkflowTerminatedError, match=r"no\\0 \\ud800"):
        await handle.result(30)


class StartsAnother(Interceptor):
    """As soon as a run has been ended, somebody starts another by its id."""

    def __init__(self) -> None:
        self.start_another: Callable[[], Awaitable[Any]] | None = None

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        answer = await call()
        if method == "send_messages" and self.start_another is not None:
            start_another, self.start_another = self.start_another, None
            await start_another()
        return answer


async def test_a_termination_by_id_alone_waits_for_the_run_that_it_has_ended(any_dsn: str) -> None:
    intercept = StartsAnother()
    async with (
        watched_app(any_dsn, intercept) as far,
        loom.Loom(any_dsn) as app,
        app.worker(workflows=[Waiting]),
    ):
        first = await app.start(Waiting, id="service")

        async def start_another() -> None:
            with pytest.raises(loom.WorkflowTerminatedError):
                await first.result(30)
            await app.start(Waiting, id="service")

        intercept.start_another = start_another
        await far.handle("service").terminate()
        statuses = [run.status for run in await app.list(id="service")]
        assert statuses == [RunStatus.RUNNING, RunStatus.TERMINATED]
        await app.handle("service").terminate()
