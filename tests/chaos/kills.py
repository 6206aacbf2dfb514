"""Workers that are killed under load, and workers that stop, wake up too late, and go on."""

from __future__ import annotations

import asyncio

from tests.chaos.clients import talk
from tests.chaos.stage import Stage

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
