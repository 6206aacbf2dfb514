"""Stopping when the database does not answer takes a bounded time and leaves nothing running."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

import loom
from tests.conditions import eventually
from tests.faults import Call, Fault, Faulty, Interceptor, watched_app

type Context = loom.WorkflowContext[Any, Any]


class Hanging(Interceptor):
    """A database that takes one kind of call and never answers it."""

    def __init__(self, method: str) -> None:
        self._method = method
        self.waiting = 0

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        if method == self._method:
            self.waiting += 1
            await asyncio.Event().wait()
        return await call()


@loom.activity
async def work() -> str:
    return "done"


@loom.workflow
class Working(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(work)


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loom.worker._PATIENCE", 0.05)


@pytest.mark.parametrize(
    "method",
    [
        "claim_workflow_tasks",
        "claim_activity_tasks",
        "write_transitions",
        "complete_activity_tasks",
        "release_leases",
    ],
)
async def test_a_worker_stops_though_the_database_does_not_answer(
    any_dsn: str, method: str
) -> None:
    hanging = Hanging(method)
    settings = {"lease_seconds": 0.5, "shutdown_grace_seconds": 0.05}
    async with loom.Loom(any_dsn) as other:
        # One that may hang in a claim, a turn or a release; and one in a completion.
        async with (
            watched_app(any_dsn, hanging, **settings) as app,
            app.worker(workflows=[Working], activities=[work]),
            app.worker(activities=[work]),
            other.worker(workflows=[Working]),
        ):
            await app.start(Working, id="mine")
            handle = await other.start(Working, id="theirs")
            if method != "release_leases":
                await eventually(lambda: hanging.waiting > 0)
            # Leaving them is the test.
        assert not [task for task in asyncio.all_tasks() if "loom-activity" in task.get_name()]
        async with other.worker(workflows=[Working], activities=[work]):
            assert await handle.result(30) == "done"
            assert await other.handle("mine").result(30) == "done"


async def test_nothing_of_a_closed_worker_goes_on(any_dsn: str) -> None:
    before = asyncio.all_tasks()
    async with loom.Loom(any_dsn) as app, app.worker(workflows=[Working], activities=[work]):
        await (await app.start(Working)).result(30)
    await eventually(lambda: asyncio.all_tasks() <= before)


async def test_a_faulty_database_at_the_end_is_no_error(any_dsn: str) -> None:
    for n in range(1, 8):
        async with (
            watched_app(any_dsn, Faulty(Fault.BEFORE, n)) as app,
            app.worker(workflows=[Working], activities=[work]),
        ):
            with suppress(loom.StoreUnavailableError):
                await app.start(Working)
