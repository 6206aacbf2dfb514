"""Clocks that are set forward and back while workers run."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

from loom.identifiers import MICROS_PER_SECOND
from tests.chaos.recovery import another_activity
from tests.chaos.servers import talking
from tests.chaos.stage import Stage

JUMPS = 20


async def clock_jumps(stage: Stage) -> None:
    """The wall clock of the workers' machine jumps. Beside a Postgres server, by up to an hour;
    with SQLite it is the database's own clock too, and leases jump with it: by a little."""
    furthest = 1.5 if stage.is_sqlite else 3600.0
    path = stage.folder / "clock"
    set_clock(path, 0)
    async with stage.client() as (app, client):
        for _ in range(2):
            await stage.worker(clock=str(path))
        async with talking(stage, client):
            for _ in range(stage.times(JUMPS)):
                await asyncio.sleep(stage.chance.uniform(0, 0.3))
                set_clock(path, stage.chance.uniform(-furthest, furthest))
                stage.fault("clock jumps")
                if stage.chance.random() < 0.2:
                    # Whoever begins now has never known another time.
                    await stage.worker(clock=str(path))
            set_clock(path, 0)
            await another_activity(stage)
        await stage.close(app, slack=round(3 * furthest + 20) * MICROS_PER_SECOND)


def set_clock(path: Path, seconds: float) -> None:
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(struct.pack("=q", int(seconds * 1e9)))
