"""Rolling upgrades and downgrades with runs in flight: of workflows' code, and of Loom itself."""

from __future__ import annotations

import asyncio
from typing import Any

import loom
from loom.storage.sql.schema import SCHEMA_VERSION
from tests.chaos.clients import insist
from tests.chaos.letters import Letter1, Letter2
from tests.chaos.nursery import Child
from tests.chaos.releases import THIS
from tests.chaos.servers import talking
from tests.chaos.stage import Stage

OLD, NEW = ["1"], ["1", "2"]
LETTERS = 12


async def upgrades(stage: Stage) -> None:
    """Old workers are replaced by new ones, by old ones and by new ones again, killed or asked to
    leave; each run stays with the code that it began with."""
    async with stage.client() as (app, _):
        workers = [await stage.worker(versions=OLD) for _ in range(2)]
        handles: list[tuple[loom.WorkflowHandle[Any], str]] = []
        for deployed in (OLD, NEW, OLD, NEW):
            for n in range(stage.times(LETTERS)):
                letter = Letter2 if deployed is NEW and n % 2 else Letter1
                handle = await insist(lambda letter=letter, n=n: app.start(letter, n))
                handles.append((handle, "2" if letter is Letter2 else "1"))
            await replace(stage, workers, versions=deployed)
            kind = "new" if deployed is NEW else "old"
            stage.report.faults[f"workers replaced by {kind} ones"] += len(workers)
        await asyncio.gather(*(insist(lambda h=h: h.signal("send")) for h, _ in handles))
        for handle, version in handles:
            result = await handle.result(120)
            if result != f"letter {version}":
                stage.violation(f"a run of version {version} gave {result!r}")
        await stage.close(app)


async def replace(stage: Stage, workers: list[Child], **order: Any) -> None:
    """One after the other, killed or asked to leave."""
    for n, worker in enumerate(list(workers)):
        await asyncio.sleep(stage.chance.uniform(0, 0.2))
        if stage.chance.random() < 0.5:
            await worker.kill()
        else:
            worker.stop()
        workers[n] = await stage.worker(**order)


REQUESTS = 12
"""Of the client in each worker's process."""


async def from_the_last_release(stage: Stage) -> None:
    """The last release's workers are replaced by this one's, by the last one's, and again."""
    await deploy(stage, "last", THIS)


async def to_the_next_release(stage: Stage) -> None:
    """This release's workers, and the client outside, go on while the next one changes the schema;
    its workers replace them, and are replaced by them, and then the schema is taken back."""
    await deploy(stage, THIS, "next", migrates=True)


async def deploy(stage: Stage, old: str, new: str, *, migrates: bool = False) -> None:
    requests = stage.times(REQUESTS)
    async with stage.client() as (app, client):
        workers = [await stage.worker(release=old, requests=requests) for _ in range(2)]
        async with talking(stage, client):
            for release in (new, old, new):
                if migrates and release == new:
                    await migrate(stage, "migration", new)
                await replace(stage, workers, release=release, requests=requests)
                stage.report.faults[f"{release}-release workers"] += len(workers)
                if migrates and release == old:
                    await migrate(stage, "way back", new)
        await stage.end_of_talk(*workers)
        await stage.close(app)


async def migrate(stage: Stage, story: str, release: str) -> None:
    """Let a process of that release change the schema, whatever goes on meanwhile."""
    order = {"story": story, "die_at": 0, "side": 0, "count": str(stage.folder / "count")}
    order |= {"revision": SCHEMA_VERSION}
    deployer = await stage.child("play", release=release, **order)
    if (code := await deployer.ended(120)) != 0:
        stage.violation(f"the {story} of the {release} release ended with {code}")
    stage.fault(f"schemas changed under load ({story})")
