"""Workers that stop in the middle of things and go on when others have long taken over."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

from tests.chaos.clients import talk
from tests.chaos.nursery import Child
from tests.chaos.stage import LEASE, Stage
from tests.conditions import eventually

WORKERS = 4
ROUNDS = 3
REQUESTS = 12


async def zombies(stage: Stage) -> None:
    """SIGSTOP beyond the lease, then SIGCONT, of all workers but one, which takes over."""
    async with stage.client() as (app, client):
        workers = [await stage.worker(requests=stage.times(REQUESTS)) for _ in range(WORKERS)]
        talking = asyncio.create_task(
            talk(client, stage.chance, "outside", 4 * stage.times(REQUESTS))
        )
        for _ in range(stage.times(ROUNDS)):
            await asyncio.sleep(stage.chance.uniform(0, 0.3))
            stage.chance.shuffle(workers)
            for worker in workers[1:]:
                await eventually(lambda worker=worker: froze_between_writes(worker, stage), 60)
            await asyncio.sleep(LEASE * stage.chance.uniform(1.2, 2.5))
            for worker in workers[1:]:
                worker.wake()
                stage.fault("zombies")
        await talking
        await stage.end_of_talk(*workers)
        await stage.close(app)


def froze_between_writes(worker: Child, stage: Stage) -> bool:
    """Freeze it, unless it holds the write lock of a SQLite file: nobody could take that away."""
    worker.freeze()
    if not stage.is_sqlite:
        return True
    with closing(sqlite3.connect(stage.file, timeout=0)) as file:
        try:
            file.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            # It may be another one who writes; both are looked at again.
            worker.wake()
            return False
    return True


async def drains(stage: Stage) -> None:
    """SIGTERM under load: a worker hands everything back, and its process ends well."""
    async with stage.client() as (app, client):
        workers = [await stage.worker() for _ in range(2)]
        talking = asyncio.create_task(
            talk(client, stage.chance, "outside", 3 * stage.times(REQUESTS))
        )
        for _ in range(stage.times(5)):
            await asyncio.sleep(stage.chance.uniform(0, 0.2))
            leaving = workers.pop(0)
            leaving.stop()
            workers.append(await stage.worker())
            if (code := await leaving.ended(120)) != 0:
                stage.violation(f"a worker that was asked to stop ended with {code}")
            stage.fault("SIGTERMs")
        await talking
        await stage.close(app)


async def stuck_loops(stage: Stage) -> None:
    """Event loops that are blocked beyond the lease, and beyond the time after which it is lost."""
    async with stage.client() as (app, client):
        settings = {
            "lease_seconds": LEASE,
            "stall_seconds": 1,
            "max_lost_attempts": 10_000,
            "max_lost_owners": 10_000,
        }
        for _ in range(2):
            await stage.worker(settings=settings, blocks=[0.1, 2.0])
        await stage.worker()
        await talk(client, stage.chance, "outside", 4 * stage.times(REQUESTS))
        await eventually(lambda: stage.told("blocked") > 0)
        stage.report.faults["blocked loops"] += stage.told("blocked")
        await stage.close(app)
