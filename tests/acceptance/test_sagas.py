"""Sagas are undone to the end, whoever of the workers dies on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest

import loom
from loom import RunStatus, Settings
from tests.conditions import cut_off, eventually
from tests.faults import Fault, Faulty, watched_app

type Context = loom.WorkflowContext[Any, Any]

PLACES = ("flight", "hotel", "car")


class Desk:
    """What was booked and undone, and how far undoing may go."""

    def __init__(self) -> None:
        self.undone: list[str] = []
        self.waiting = 0
        self.allowed = asyncio.Semaphore(0)


DESK = Desk()


@pytest.fixture(autouse=True)
async def desk() -> Desk:
    global DESK
    DESK = Desk()
    return DESK


@loom.activity
async def book(what: str) -> str:
    return f"{what}-1"


@loom.activity
async def undo(booking: str) -> None:
    DESK.waiting += 1
    await DESK.allowed.acquire()
    DESK.undone.append(booking)


@loom.activity
async def refuse() -> None:
    raise ValueError("full")


@loom.workflow
class Trip(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> None:
        async with ctx.saga() as saga:
            for what in PLACES:
                saga.compensate(undo, await ctx.activity(book, what))
            if ctx.input == "refused":
                await ctx.activity(refuse)
            await ctx.wait_for_signal("never")


ACTIVITIES = (book, undo, refuse)
UNDONE = ["car-1", "hotel-1", "flight-1"]


def worker_of(app: loom.Loom) -> loom.Worker:
    return app.worker(workflows=[Trip], activities=ACTIVITIES)


async def compensations(handle: loom.WorkflowHandle[Any]) -> list[str]:
    """Those that history says were completed, by what they undid."""
    asked = {
        event.attributes["activity_id"]: event.value["booking"]
        for event in await handle.history()
        if event.type == "ACTIVITY_SCHEDULED" and event.attributes["name"] == "undo"
    }
    return [
        asked[event.attributes["activity_id"]]
        for event in await handle.history()
        if event.type == "ACTIVITY_COMPLETED" and event.attributes["activity_id"] in asked
    ]


async def completed(handle: loom.WorkflowHandle[Any], number: int) -> bool:
    return len(await compensations(handle)) == number


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "evicted"])
async def test_undoing_goes_on_with_the_next_worker(any_dsn: str, cached: int) -> None:
    settings = Settings(max_cached_runs=cached, lease_seconds=0.5, shutdown_grace_seconds=0)
    async with loom.Loom(any_dsn, settings=settings) as app:
        handle = await app.start(Trip, "refused")
        for number in range(1, 3):
            async with loom.Loom(any_dsn, settings=settings) as dying, worker_of(dying) as worker:
                DESK.allowed.release()
                await eventually(lambda: completed(handle, number))  # noqa: B023
                await eventually(lambda: DESK.waiting > number)  # noqa: B023
                cut_off(worker)
        async with worker_of(app):
            DESK.allowed.release()
            with pytest.raises(loom.WorkflowFailedError, match="full"):
                await handle.result(30)
        assert await compensations(handle) == UNDONE


async def test_a_cancelled_run_is_undone_first(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app, worker_of(app):
        handle = await app.start(Trip, "waiting")
        await eventually(lambda: registered(handle))
        await handle.cancel(reason="no longer wanted")
        await eventually(lambda: DESK.waiting == 1)
        await handle.cancel(reason="hurry up")
        for _ in UNDONE:
            DESK.allowed.release()
        with pytest.raises(loom.WorkflowCancelledError, match="no longer wanted"):
            await handle.result(30)
        assert DESK.undone == await compensations(handle) == UNDONE


async def registered(handle: loom.WorkflowHandle[Any]) -> bool:
    types = Counter(event.type for event in await handle.history())
    return types["COMPENSATION_REGISTERED"] == len(PLACES)


@pytest.mark.parametrize("any_dsn", ["sqlite"], indirect=True)  # on one, for the time it takes
async def test_whatever_call_is_the_last_of_a_process_all_is_undone(
    any_dsn: str, new_dsn: Callable[[], str]
) -> None:
    settings = Settings(lease_seconds=0.5, shutdown_grace_seconds=0)
    for _ in range(100):
        DESK.allowed.release()
    for n in count(1):
        dsn = new_dsn()
        async with loom.Loom(dsn, settings=settings) as survivor:
            handle = await survivor.start(Trip, "refused", id="trip")
            struck = await die_at(n, dsn)
            async with worker_of(survivor):
                await ended(handle.result(30))
            assert await handle.status() is RunStatus.FAILED
            assert await compensations(handle) == UNDONE, n
        if not struck:
            return


async def die_at(n: int, dsn: str) -> bool:
    """Work until the n-th call to the store, as a process that is then gone."""
    crashing = Faulty(Fault.CRASH, n)
    async with (
        watched_app(dsn, crashing, lease_seconds=0.5, shutdown_grace_seconds=0) as app,
        worker_of(app) as worker,
    ):
        handle = app.handle("trip", workflow=Trip)
        ending = asyncio.create_task(ended(handle.result(30)))
        striking = asyncio.create_task(crashing.struck.wait())
        await asyncio.wait((ending, striking), return_when=asyncio.FIRST_COMPLETED)
        cut_off(worker)
        ending.cancel()
        striking.cancel()
        await asyncio.wait((ending, striking))
    return crashing.struck.is_set()


async def ended(result: Awaitable[Any]) -> None:
    with pytest.raises(loom.WorkflowFailedError):
        await result
