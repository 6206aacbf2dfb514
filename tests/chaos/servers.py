"""Postgres servers that crash, lose connections, and leave commits in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

import loom
from tests.chaos.clients import Client, opened, talk
from tests.chaos.proxy import proxy
from tests.chaos.recovery import work_moves
from tests.chaos.stage import Stage
from tests.conditions import eventually
from tests.databases import plain_dsn


@asynccontextmanager
async def talking(stage: Stage, client: Client) -> AsyncIterator[None]:
    """Clients that go on talking while the block runs, and end what they were saying."""
    is_over = False

    async def go_on(name: str) -> None:
        round_ = 0
        while not is_over:
            round_ += 1
            await talk(client, stage.chance, f"{name}.{round_}", 8)

    tasks = [asyncio.create_task(go_on(f"outside{n}")) for n in range(3)]
    try:
        yield
        is_over = True
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def crashes(stage: Stage) -> None:
    """``pg_ctl stop -m immediate`` under load, and a start again."""
    server = stage.grounds.server
    assert server is not None
    async with stage.client() as (app, client):
        for _ in range(2):
            await stage.worker()
        async with talking(stage, client):
            for _ in range(stage.times(10)):
                await asyncio.sleep(stage.chance.uniform(0, 0.5))
                await asyncio.to_thread(server.stop, "immediate")
                await asyncio.sleep(stage.chance.choice((0, 0, 0.5)))
                await asyncio.to_thread(server.start)
                stage.fault("crashes of Postgres")
                await work_moves(stage)
        await stage.close(app)


async def terminated_backends(stage: Stage) -> None:
    """``pg_terminate_backend``, again and again, on whatever Loom has open."""
    async with stage.client() as (app, client):
        for _ in range(2):
            await stage.worker()
        killer = await asyncpg.connect(plain_dsn(stage.dsn))
        try:
            async with talking(stage, client):
                for _ in range(stage.times(60)):
                    await asyncio.sleep(stage.chance.uniform(0, 0.1))
                    ended = await killer.fetchval(_TERMINATE, stage.chance.random())
                    stage.report.faults["terminated backends"] += ended
                await work_moves(stage)
        finally:
            await killer.close()
        await stage.close(app)


_TERMINATE = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'loom' AND datname = current_database() AND random() < $1
"""


async def doubts(stage: Stage) -> None:
    """Connections that are cut before, amid and after a COMMIT."""
    async with proxy(stage.dsn, stage.chance) as (between, dsn):
        settings = loom.Settings()
        async with opened(loom.Loom(dsn, settings=settings)) as app:
            client = Client(app, stage.log)
            for _ in range(2):
                await stage.worker(dsn=dsn)
            wanted = stage.times(60)
            between.cut_every = 0.15
            async with talking(stage, client):
                await eventually(lambda: between.cuts.total() >= wanted, 120)
                between.cut_every = 0.0
            for cut, times in between.cuts.items():
                stage.report.faults[f"COMMITs cut {cut}"] += times
            await stage.close(app)
