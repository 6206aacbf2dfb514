"""Runs that cannot go on, beside others that must not mind: each stops alone (I9)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import loom
from loom import RunStatus
from tests.chaos.clients import insist, talk
from tests.chaos.damage import Damage, damage_of
from tests.chaos.jobs import Deadly, Endless, Fatal, Five, Mixed
from tests.chaos.nursery import Child
from tests.chaos.stage import LEASE, Stage
from tests.conditions import eventually

LOST_ATTEMPTS = 2


async def deadly_activities(stage: Stage) -> None:
    """An activity that ends its process, again and again; workers are started anew each time.

    They have a queue of their own: whatever ran in the same process would be lost as often.
    """
    settings = {"lease_seconds": LEASE, "max_lost_attempts": LOST_ATTEMPTS}
    async with stage.client() as (app, client), supervised(stage, settings=settings):
        for _ in range(2):
            await stage.worker()
        deadly = await insist(lambda: app.start(Deadly, None, id="deadly"))
        await talk(client, stage.chance, "outside", stage.times(24))
        await eventually(lambda: is_closed(deadly), 120)
        with contextlib.suppress(loom.WorkflowFailedError):
            stage.violation(f"I9: the deadly activity gave {await deadly.result()}")
        deaths = stage.ledger.lines().count(f"{deadly.run_id}/1")
        stage.report.faults["activities that ended their process"] += deaths
        # An attempt may be lost before it has begun.
        if deaths not in range(1, LOST_ATTEMPTS + 2):
            stage.violation(f"I9: the deadly activity was run {deaths} times")
        await stage.close(app)


async def is_closed(handle: loom.WorkflowHandle[None]) -> bool:
    return not (await insist(handle.status)).is_open


LOST_OWNERS = 3
NEIGHBOURS = 8


async def deadly_workflows(stage: Stage) -> None:
    """Code of a workflow that ends its process, beside runs in the same processes that do not.

    It is set apart and none of them is, and when it is mended it ends well.
    """
    settings = {
        "lease_seconds": LEASE,
        "max_lost_attempts": 10_000,
        "max_lost_owners": LOST_OWNERS,
    }
    async with stage.client() as (app, client):
        await stage.worker()
        async with supervised(stage, settings=settings, fatal=True):
            start = partial(app.start, queue="deadly")
            deadly = await insist(lambda: start(Fatal, None, id="deadly"))
            mixed = [
                await insist(lambda n=n: start(Mixed, n, id=f"mixed-{n}"))
                for n in range(NEIGHBOURS)
            ]
            await insist(lambda: deadly.signal("go", 1, request_id="go"))
            talking = asyncio.create_task(talk(client, stage.chance, "outside", stage.times(24)))
            await eventually(lambda: has_status(deadly, RunStatus.BLOCKED), 60)
            # They go on, whether or not it is tried again.
            for handle in mixed:
                await insist(lambda h=handle: h.signal("add", 1, request_id="add"))
            for n, handle in enumerate(mixed):
                if (result := await insist(lambda h=handle: h.result(60))) != n + 5:
                    stage.violation(f"I9: {handle} gave {result}")
            deaths = stage.told("died of a workflow")
        await talking
        stage.report.faults["workflows that ended their process"] += deaths
        # Three, if no worker gave it back for reasons of its own, as a very slow one may.
        if deaths not in range(1, 3 * LOST_OWNERS):
            stage.violation(f"I9: the deadly workflow ended {deaths} processes")
        await stage.worker(settings=settings, queue="deadly")
        await insist(deadly.retry)
        if (result := await insist(lambda: deadly.result(60))) != 2:
            stage.violation(f"I9: the mended workflow gave {result}")
        await stage.close(app)


@asynccontextmanager
async def supervised(stage: Stage, **order: Any) -> AsyncIterator[None]:
    """Two workers, each of which is replaced when it has ended; they are gone afterwards."""
    last: dict[int, Child] = {}

    async def supervise(number: int) -> None:
        while True:
            last[number] = worker = await stage.worker(queue="deadly", **order)
            while not worker.has_ended:
                await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(supervise(n)) for n in range(2)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for worker in last.values():
            await worker.kill()


async def damaged_rows(stage: Stage) -> None:
    """What nobody can read keeps its run alone; mended, the run goes on."""
    damage = damage_of(stage)
    async with stage.client() as (app, client):
        worker = await stage.worker()
        await client.start("poisoned")
        await client.update("poisoned", "before")
        await client.start("well")
        busy = await insist(lambda: app.start(Endless, False, id="busy"))
        await eventually(lambda: tries(stage, busy) > 0)
        await worker.kill()
        # A message that nobody has taken.
        await client.signal("poisoned", "1")
        await damage.do(stage.dsn, await rows_of(stage, damage, app))
        stage.fault(str(damage))
        worker = await stage.worker()
        await client.update("well", "2")
        if (result := await insist((await insist(lambda: app.start(Five, 1))).result)) != 6:
            stage.violation(f"I9: beside the {damage} another run gave {result}")
        await talk(client, stage.chance, "outside", stage.times(24))
        if damage.blocks:
            handle = app.handle("poisoned")
            await eventually(lambda: has_status(handle, RunStatus.BLOCKED), 60)
        if worker.has_ended:
            stage.violation(f"I9: the worker ended of the {damage}")
        await worker.kill()
        await asyncio.sleep(2 * LEASE)
        await damage.mend(stage.dsn)
        # A new worker looks at once at what others have found blocked, and do not hold any more.
        before = tries(stage, busy)
        await stage.worker()
        await eventually(lambda: tries(stage, busy) > before, 60)
        await insist(busy.terminate)
        await stage.close(app)


def tries(stage: Stage, busy: loom.WorkflowHandle[None]) -> int:
    """How often the activity of that run was begun."""
    return sum(line.startswith(busy.run_id) for line in stage.ledger.lines())


async def rows_of(stage: Stage, damage: Damage, app: loom.Loom) -> str:
    """Those rows of one run that are to be damaged, as a condition."""
    victim = "busy" if damage.table == "tasks" else "poisoned"
    of_it = f"run_key = (SELECT run_key FROM workflows WHERE workflow_id = '{victim}')"
    if damage.table != "events":
        return of_it
    length = (await insist(app.handle(victim).info)).history_length
    return f"{of_it} AND sequence = {stage.chance.randint(1, length)}"


async def has_status(handle: loom.WorkflowHandle[object], status: RunStatus) -> bool:
    return await insist(handle.status) is status
