"""Rolling upgrades and downgrades of workflows' code with runs in flight."""

from __future__ import annotations

import asyncio
from typing import Any

import loom
from tests.chaos.clients import insist
from tests.chaos.letters import Letter1, Letter2
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
            for n, worker in enumerate(list(workers)):
                await asyncio.sleep(stage.chance.uniform(0, 0.2))
                if stage.chance.random() < 0.5:
                    await worker.kill()
                else:
                    worker.stop()
                workers[n] = await stage.worker(versions=deployed)
                stage.fault(f"workers replaced by {'new' if deployed is NEW else 'old'} ones")
        await asyncio.gather(*(insist(lambda h=h: h.signal("send")) for h, _ in handles))
        for handle, version in handles:
            result = await handle.result(120)
            if result != f"letter {version}":
                stage.violation(f"a run of version {version} gave {result!r}")
        await stage.close(app)
