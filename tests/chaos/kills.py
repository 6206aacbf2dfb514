"""Workers that are killed under load, and workers that stop, wake up too late, and go on."""

from __future__ import annotations

import asyncio

from tests.chaos.clients import insist, talk
from tests.chaos.jobs import Endless
from tests.chaos.recovery import AFTER_ITS_LEASE, recovery
from tests.chaos.stage import Stage
from tests.conditions import eventually

WORKERS = 3
KILLS = 10
"""In each trial."""

REQUESTS = 12
"""Of each client."""


async def kills(stage: Stage) -> None:
    """SIGKILL at random, while clients talk from within the workers and from outside."""
    async with stage.client() as (app, client):
        workers = [await stage.worker(requests=stage.times(REQUESTS)) for _ in range(WORKERS)]
        talking = asyncio.create_task(
            talk(client, stage.chance, "outside", 3 * stage.times(REQUESTS))
        )
        for _ in range(stage.times(KILLS)):
            await asyncio.sleep(stage.chance.uniform(0, 0.3))
            victim = workers.pop(stage.chance.randrange(len(workers)))
            await victim.kill()
            stage.fault("SIGKILLs")
            workers.append(await stage.worker(requests=stage.times(REQUESTS)))
        await talking
        await stage.end_of_talk(*workers)
        await stage.close(app)


ORPHANS = 10
LONG_LEASE = 1.0


async def orphans(stage: Stage) -> None:
    """A worker dies that holds runs; how long until another has all of them, of which one second
    is the lease."""
    settings = {"lease_seconds": LONG_LEASE, "max_lost_attempts": 10_000, "max_lost_owners": 10_000}
    async with stage.client() as (app, _):
        first = await stage.worker(settings=settings)
        handles = [await insist(lambda: app.start(Endless, False)) for _ in range(ORPHANS)]
        await eventually(lambda: len(stage.ledger.lines()) == ORPHANS, 60)
        await stage.worker(settings=settings)
        await first.kill()
        async with recovery(stage, LONG_LEASE + AFTER_ITS_LEASE):
            await eventually(lambda: all_run_again(stage), 60)
        stage.report.faults["workers that died and left runs"] += 1
        for handle in handles:
            await insist(handle.terminate)
        await stage.close(app)


def all_run_again(stage: Stage) -> bool:
    """Some even more often, where leases of a second are too short for the machine."""
    counts = stage.ledger.counts()
    return len(counts) == ORPHANS and min(counts.values()) > 1
