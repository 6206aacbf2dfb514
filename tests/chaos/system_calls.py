"""Processes that die before, in the middle of and after one of their durable system calls.

A trial is one death: its seed says in which story, at which call and on which side of it. So the
seeds from 0 on are all deaths there are, those at the first call of each story first. Every fifth
is of the same story: ``--seed 3 --every 5`` is the timer's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import loom
from loom.storage.sql import migrations
from tests.chaos import first_schema
from tests.chaos.clients import insist
from tests.chaos.shim import Side
from tests.chaos.stage import Stage
from tests.databases import beside

TALE = "tale"
WAY_BACK = "way back"
UPGRADE = "migration from the first schema"
STORIES = ("start", "step", "signal", "timer", "migration")
MIGRATIONS = ("migration", WAY_BACK, UPGRADE)
BEFORE_IT = {"signal": ("start",), "timer": ("start",), WAY_BACK: ("migration",)}
"""What is played in full before a story."""

_ROLES = {UPGRADE: "migration"}
"""How a story is called in ``roles.py``, where it has another name there."""


async def system_calls(stage: Stage) -> None:
    """SIGKILL at the n-th durable call of a start, a step, a signal, a timer or a migration."""
    sides = list(Side)
    rest, story = divmod(stage.seed, len(STORIES))
    call, side = divmod(rest, len(sides))
    await die_in(stage, STORIES[story], call + 1, sides[side])


async def ways_back(stage: Stage) -> None:
    """The same in a schema's way back to nothing."""
    call, side = divmod(stage.seed, len(Side))
    await die_in(stage, WAY_BACK, call + 1, list(Side)[side])


async def upgrade(stage: Stage) -> None:
    """The same in a migration from the first schema, with runs under way, which go on."""
    call, side = divmod(stage.seed, len(Side))
    await die_in(stage, UPGRADE, call + 1, list(Side)[side])


async def die_in(stage: Stage, story: str, call: int, side: Side) -> None:
    async with beside(_database(stage, story)) as dsn:
        if story == UPGRADE:
            await first_schema.lay_out(dsn)
        for before in BEFORE_IT.get(story, ()):
            assert await _play(stage, dsn, before, 0, side) == 0
        if await _play(stage, dsn, story, call, side) == 0:
            count = int((stage.folder / "count").read_text())
            assert count < call, "the shim did not kill"
            stage.fault(f"{story} stories that had ended before")
            return
        stage.fault(f"deaths in a {story}")
        await (_migrate(stage, dsn) if story in MIGRATIONS else _recover(stage, story))
        if story == UPGRADE:
            await first_schema.examine(stage, dsn)


@contextmanager
def _database(stage: Stage, story: str) -> Iterator[str]:
    """The stage's own, or an empty one to be migrated."""
    if story not in MIGRATIONS:
        yield stage.dsn
        return
    with stage.empty_database() as dsn:
        yield dsn


async def _play(stage: Stage, dsn: str, story: str, call: int, side: Side) -> int:
    order = {
        "story": _ROLES.get(story, story),
        "tale": TALE,
        "die_at": call,
        "side": side,
        "revision": "base",
    }
    count = str(stage.folder / "count")
    child = await stage.child("play", dsn=dsn, count=count, **order)
    return await child.ended(120)


async def _recover(stage: Stage, story: str) -> None:
    """Others take over, and the client sends again what it has no answer to."""
    async with stage.client() as (app, client):
        await stage.worker()
        await client.start(TALE)
        if story != "start":
            await client.signal(TALE, "1")
        if story == "step":
            await client.update(TALE, "2")
        await stage.close(app)


async def _migrate(stage: Stage, dsn: str) -> None:
    """Two at once find what the dead one has left."""
    order = {"story": "migration", "die_at": 0, "side": Side.BEFORE}
    count = str(stage.folder / "count")
    deployers = [await stage.child("play", dsn=dsn, count=count, **order) for _ in range(2)]
    codes = await asyncio.gather(*(deployer.ended(120) for deployer in deployers))
    if codes != [0, 0]:
        stage.violation(f"migrating again ended with {codes}")
    try:
        await insist(lambda: migrations.check(dsn))
    except loom.LoomError as error:
        stage.violation(f"migrating again left: {error}")
