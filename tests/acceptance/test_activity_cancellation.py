"""Cancelling an activity reaches whoever runs it, wherever that is."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import loom
from tests.conditions import eventually

type Context = loom.WorkflowContext[Any, Any]

NEVER_RENEWED = loom.Settings(lease_seconds=3600)
"""Whoever hears of something hears of it by other means than the next renewal."""


class Seen:
    """What an activity has seen."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.cleaned_up = threading.Event()
        self.released = threading.Event()


SEEN = Seen()


@pytest.fixture(autouse=True)
def seen() -> Any:
    SEEN.__init__()  # type: ignore[misc]
    yield
    SEEN.released.set()


@loom.activity(name="work")
async def work_async() -> None:
    SEEN.begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        SEEN.cleaned_up.set()


@loom.activity(name="work")
def work_in_thread() -> None:
    SEEN.begun.set()
    while not SEEN.released.wait(0.01):
        if loom.activity_info().cancelled:
            with pytest.raises(loom.ActivityCancelledError):
                loom.heartbeat()
            SEEN.cleaned_up.set()
            return


WORK: dict[str, Any] = {"async": work_async, "thread": work_in_thread}


@loom.workflow
class Calling(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        task = asyncio.ensure_future(ctx.activity(WORK[ctx.input]))
        await ctx.wait_for_signal("call off")
        task.cancel()
        await ctx.wait_for_signal("end")
        return "ended"


@pytest.mark.parametrize("kind", WORK)
@pytest.mark.parametrize("how", ["the wait", "the run", "by terminating", "by ending"])
async def test_cancelling_reaches_an_activity_on_another_worker(
    any_dsn: str, kind: str, how: str
) -> None:
    async with (
        loom.Loom(any_dsn, settings=NEVER_RENEWED) as app,
        app.worker(workflows=[Calling]),
        app.worker(activities=[WORK[kind]]),
    ):
        handle = await app.start(Calling, kind)
        await eventually(SEEN.begun.is_set)
        if how == "the wait":
            await handle.signal("call off")
        elif how == "the run":
            await handle.cancel()
        elif how == "by terminating":
            await handle.terminate()
        else:
            await handle.signal("end")
            await handle.signal("call off")
        await eventually(SEEN.cleaned_up.is_set)


async def test_it_reaches_another_process_through_the_server(migrated_postgres_dsn: str) -> None:
    async with (
        loom.Loom(migrated_postgres_dsn, settings=NEVER_RENEWED) as app,
        loom.Loom(migrated_postgres_dsn, settings=NEVER_RENEWED) as other,
        app.worker(workflows=[Calling]),
        other.worker(activities=[work_async]),
    ):
        handle = await app.start(Calling, "async")
        await eventually(SEEN.begun.is_set)
        await handle.cancel()
        await eventually(SEEN.cleaned_up.is_set)


async def test_without_a_notification_it_comes_with_the_renewal_of_the_lease(
    migrated_sqlite_dsn: str,
) -> None:
    settings = loom.Settings(lease_seconds=0.5)
    async with (
        loom.Loom(migrated_sqlite_dsn) as app,
        loom.Loom(migrated_sqlite_dsn, settings=settings) as other,
        app.worker(workflows=[Calling]),
        other.worker(activities=[work_async]),
    ):
        handle = await app.start(Calling, "async")
        await eventually(SEEN.begun.is_set)
        await handle.cancel()
        await eventually(SEEN.cleaned_up.is_set)


async def test_a_run_without_its_worker_is_terminated_with_its_activities(any_dsn: str) -> None:
    async with (
        loom.Loom(any_dsn, settings=NEVER_RENEWED) as app,
        app.worker(activities=[work_async]),
    ):
        async with app.worker(workflows=[Calling]):
            handle = await app.start(Calling, "async")
            await eventually(SEEN.begun.is_set)
        await handle.terminate()
        await eventually(SEEN.cleaned_up.is_set)


@pytest.mark.parametrize("kind", WORK)
async def test_cancelling_reaches_an_activity_next_to_its_run(any_dsn: str, kind: str) -> None:
    async with (
        loom.Loom(any_dsn, settings=NEVER_RENEWED) as app,
        app.worker(workflows=[Calling], activities=[WORK[kind]]),
    ):
        handle = await app.start(Calling, kind)
        await eventually(SEEN.begun.is_set)
        await handle.signal("call off")
        await eventually(SEEN.cleaned_up.is_set)
        await handle.signal("end")
        assert await handle.result(30) == "ended"
