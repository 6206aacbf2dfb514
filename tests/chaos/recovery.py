"""How long it takes until work moves again when a fault is over, and how long it may take."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tests.chaos.stage import Stage
from tests.chaos.standstill import standstills
from tests.conditions import eventually

AFTER_ITS_LEASE: Final = 1.0
"""Seconds that the runs of a dead worker may wait beyond their lease."""

DATABASE_IS_BACK: Final = 2.0
"""Seconds until work moves from when the database can be used again."""

LATE: Final = 5
"""How many threads one after the other may be woken late: they keep leases, connect, poll, work."""

SHORT: Final = 2
"""How many times as long it may take in a short dose, beside tests that want the machine, too."""


@asynccontextmanager
async def recovery(stage: Stage, within: float) -> AsyncIterator[None]:
    """What the block waits for must come within so many seconds, on a machine that wakes who
    sleeps in time."""
    began = time.monotonic()
    with standstills() as found:
        yield
        took = time.monotonic() - began
    stage.report.recoveries.append(took)
    allowed = within * (SHORT if stage.is_short else 1) + LATE * found.late
    if took > allowed:
        stage.violation(f"work moved after {took:.2f} s, and should after {allowed:.2f} s")


async def work_moves(stage: Stage, within: float = DATABASE_IS_BACK) -> None:
    """Until another activity is run, which must be in time."""
    async with recovery(stage, within):
        await another_activity(stage)


async def another_activity(stage: Stage) -> None:
    """Until another activity is run."""
    lines = len(stage.ledger.lines())
    await eventually(lambda: len(stage.ledger.lines()) > lines, 60)
