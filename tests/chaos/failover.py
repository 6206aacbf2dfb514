"""A primary that is lost, and the synchronous standby that takes its place."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

import loom
from loom.storage.sql import migrations
from tests.chaos.clients import Client, opened
from tests.chaos.proxy import proxy
from tests.chaos.recovery import work_moves
from tests.chaos.servers import talking
from tests.chaos.stage import Stage, server_binaries
from tests.databases import plain_dsn
from tests.postgres import LocalServer, local_server


class Standby(LocalServer):
    """Follows a primary, until it is promoted."""

    def follow(self, primary: LocalServer) -> None:
        self._primary = urlsplit(primary.dsn)
        options = ("--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream")
        self._run("pg_basebackup", f"--dbname={primary.dsn}", *options)
        self._start_on_a_free_port(5)

    @property
    def dsn(self) -> str:
        location = self._primary.netloc.rpartition(":")[0] + f":{self._port}"
        return urlunsplit(self._primary._replace(netloc=location))

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "--wait")


async def failover(stage: Stage) -> None:
    """The primary crashes for good under load; what was acknowledged is on the standby."""
    binaries = server_binaries()
    with local_server(binaries) as primary, tempfile.TemporaryDirectory() as home:
        await migrations.upgrade(primary.dsn)
        standby = Standby(binaries, Path(home))
        await asyncio.to_thread(standby.follow, primary)
        try:
            await commit_on_both(primary)
            await _fail_over(stage, primary, standby)
        finally:
            standby.stop("immediate")


async def commit_on_both(primary: LocalServer) -> None:
    """Let the primary acknowledge nothing that the standby does not have."""
    connection = await asyncpg.connect(plain_dsn(primary.dsn))
    await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await connection.execute("SELECT pg_reload_conf()")
    while not await connection.fetchval(_IS_SYNCHRONOUS):
        await asyncio.sleep(0.02)
    await connection.close()


_IS_SYNCHRONOUS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


async def _fail_over(stage: Stage, primary: LocalServer, standby: Standby) -> None:
    async with (
        proxy(primary.dsn, stage.chance) as (between, stage.dsn),
        opened(loom.Loom(stage.dsn, settings=loom.Settings())) as app,
    ):
        for _ in range(2):
            await stage.worker()
        async with talking(stage, Client(app, stage.log)):
            await asyncio.sleep(stage.chance.uniform(0.2, 2))
            await asyncio.to_thread(primary.stop, "immediate")
            await asyncio.to_thread(standby.promote)
            between.target = ("127.0.0.1", urlsplit(standby.dsn).port or 0)
            stage.fault("failovers")
            await work_moves(stage)
        await stage.close(app)
