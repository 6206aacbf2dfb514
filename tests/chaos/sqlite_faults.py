"""What befalls a SQLite file: a full or failing disk, rivals that hold its lock, and power cuts."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import loom
from tests.chaos.clients import ClientLog, opened
from tests.chaos.judge import dump_of, finish, violations_of
from tests.chaos.ledger import Ledger
from tests.chaos.nursery import Child
from tests.chaos.power import Recording
from tests.chaos.recovery import work_moves
from tests.chaos.servers import talking
from tests.chaos.stage import Stage
from tests.conditions import eventually
from tests.proof.records import Asked, Outcome, Told


async def full_disk(stage: Stage) -> None:
    """The disk of the workers is full, and then there is room again."""
    flag = stage.folder / "full"
    async with stage.client() as (app, client):
        for _ in range(2):
            await stage.worker(full_while=str(flag))
        async with talking(stage, client):
            for _ in range(stage.times(6)):
                flag.touch()
                await asyncio.sleep(stage.chance.uniform(0.05, 0.5))
                flag.unlink()
                stage.fault("full disks")
                await work_moves(stage)
        await stage.close(app)


REQUESTS = 120
"""Of the client in each worker's process."""


async def failing_syncs(stage: Stage) -> None:
    """Writes and syncs fail, some of which were done: who asked for a commit cannot know whether it
    was. Meanwhile all processes may be killed, so that the next one finds what is in the log."""
    flag, failures = stage.folder / "failing", stage.folder / "failures"
    order = {"failing_while": str(flag), "failures": str(failures)}

    async def begin() -> list[Child]:
        return [await stage.worker(requests=stage.times(REQUESTS), **order) for _ in range(2)]

    workers = await begin()
    for _ in range(stage.times(8)):
        flag.touch()
        await asyncio.sleep(stage.chance.uniform(0.1, 1.0))
        is_fatal = stage.chance.random() < 0.5
        if is_fatal:
            await asyncio.gather(*(worker.kill() for worker in workers))
        flag.unlink()
        if is_fatal:
            workers = await begin()
    await stage.end_of_talk(*workers)
    stage.report.faults.update(failures.read_text().splitlines())
    async with stage.client() as (app, _):
        await stage.close(app)


async def rivals(stage: Stage) -> None:
    """Somebody else holds the write lock, for longer than anybody is willing to wait."""
    file = stage.file
    stage.dsn += "?busy_timeout=0.2"
    async with stage.client() as (app, client):
        for _ in range(2):
            await stage.worker()
        async with talking(stage, client):
            for _ in range(stage.times(8)):
                await asyncio.to_thread(hold_lock, file, stage.chance.uniform(0.05, 1.0))
                stage.fault("locks held by a rival")
                await work_moves(stage)
        await stage.close(app)


def hold_lock(file: Path, seconds: float) -> None:
    with closing(sqlite3.connect(file, timeout=60, isolation_level=None)) as rival:
        rival.execute("BEGIN IMMEDIATE")
        asyncio.run(asyncio.sleep(seconds))
        rival.execute("ROLLBACK")


CUTS = 40
GO_ON_EVERY = 8
"""After each so manieth cut a worker goes on from what is left."""


async def power_cuts(stage: Stage) -> None:
    """One process's writes and syncs are recorded; then the file is rebuilt as a power cut at some
    moment could have left it, with anything not yet synced lost, torn or written out of order."""
    recorded = stage.folder / "recorded"
    before = stage.file.read_bytes()
    worker = await stage.worker(requests=stage.times(24), record=str(recorded))
    await stage.end_of_talk(worker)
    await worker.kill()
    recording = Recording.read(recorded, stage.file, before)
    for n in range(stage.times(CUTS)):
        end = stage.chance.randrange(len(recording.operations) + 1)
        folder = stage.folder / f"cut{n}"
        folder.mkdir()
        file, marks = recording.cut(end, folder, stage.chance)
        stage.fault("power cuts")
        told = list(as_known(stage.log.told(), marks))
        for violation in await look_at(stage, file, told, goes_on=n % GO_ON_EVERY == 0):
            stage.violation(f"operation {end}: {violation}")
    await eventually(lambda: worker.has_ended)


def as_known(told: list[Told], marks: set[str]) -> Iterator[Told]:
    """What clients had been told by then; of what they were told later nothing is known."""
    for one in told:
        is_known = mark_of(one.asked, one.workflow_id, one.request_id) in marks
        if one.outcome is Outcome.OK:
            yield one if is_known else replace(one, outcome=Outcome.UNKNOWN)


async def look_at(stage: Stage, file: Path, told: list[Told], *, goes_on: bool) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        [verdict] = connection.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        return [verdict]
    executions = stage.ledger.executions()
    found = await violations_of(f"sqlite:///{file}", told, executions, is_quiet=False)
    return found + (await go_on(stage, file, told) if goes_on else [])


async def go_on(stage: Stage, file: Path, told: list[Told]) -> list[str]:
    """What comes of it when a worker goes on from there."""
    dsn = f"sqlite:///{file}"
    log, ledger = ClientLog(file.parent / "clients"), Ledger(file.parent / "ledger")
    before = await dump_of(dsn)
    worker = await stage.worker(dsn=dsn, log=str(log.path), ledger=str(ledger.path))
    async with opened(loom.Loom(dsn, settings=loom.Settings())) as app:
        await finish(app, log)
    await worker.kill()
    stage.fault("power cuts after which a worker went on")
    executions = [*stage.ledger.executions(), *ledger.executions()]
    return await violations_of(dsn, [*told, *log.told()], executions, earlier=[before])


def mark_of(asked: Asked, workflow_id: str, request_id: str | None) -> str:
    """What is recorded when a client was told that its request is done."""
    return f"{asked.value} {workflow_id} {request_id}"
