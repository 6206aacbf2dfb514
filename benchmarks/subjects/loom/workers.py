"""Processes with a Loom worker, beside the one that measures."""

from __future__ import annotations

import asyncio
import time
from multiprocessing.connection import Connection

import loom
from benchmarks.meter import rss_mib
from benchmarks.processes import serve
from benchmarks.subjects.loom.workflows import DEFINITIONS, Halt, OneActivity, Sleeper

STARTS_AT_A_TIME = 200
LONG = 3_600.0
"""Seconds."""


def work(parent: Connection, dsn: str, slots: int) -> None:
    """A worker."""
    asyncio.run(_work(parent, dsn, slots))


def work_and_halt(parent: Connection, dsn: str, slots: int, after: int) -> None:
    """A worker whose activities get no further than that step."""
    Halt.after = after
    asyncio.run(_work(parent, dsn, slots))


def stand_by(parent: Connection, dsn: str, slots: int) -> None:
    """A worker that has loaded everything, and begins when it is told to."""
    parent.send(True)
    parent.recv()
    asyncio.run(_work(parent, dsn, slots))


async def _work(parent: Connection, dsn: str, slots: int) -> None:
    async with loom.Loom(dsn) as app, app.worker(**DEFINITIONS, concurrency=slots):
        await serve(parent, answers={"halted": lambda: len(Halt.halted)})


def prove(parent: Connection, dsn: str) -> None:
    """A worker that says that it is ready when it has done a workflow of one activity."""
    asyncio.run(_prove(parent, dsn))


async def _prove(parent: Connection, dsn: str) -> None:
    async with loom.Loom(dsn) as app, app.worker(**DEFINITIONS):
        run = await app.start(OneActivity, 21)
        if await run.result() != 42:
            raise AssertionError("twice 21 is not 42")
        await serve(parent, ready={"rss_mib": rss_mib()})


def put_to_sleep(parent: Connection, dsn: str, n: int) -> None:
    """Opens so many runs that sleep for long."""
    asyncio.run(_put_to_sleep(parent, dsn, n))


async def _put_to_sleep(parent: Connection, dsn: str, n: int) -> None:
    numbers = iter(range(n))
    until = time.time() + LONG

    async with loom.Loom(dsn) as app, app.worker(**DEFINITIONS):

        async def client() -> None:
            for _ in numbers:
                await app.start(Sleeper, until)

        async with asyncio.TaskGroup() as clients:
            for _ in range(STARTS_AT_A_TIME):
                clients.create_task(client())
        await serve(parent)
