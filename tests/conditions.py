"""Bringing about, and waiting for, what a test is about; never waiting for a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import loom

PATIENCE = 15.0
"""Seconds after which what has not happened will not happen."""


async def eventually(
    holds: Callable[[], bool | Awaitable[bool]], patience: float = PATIENCE
) -> None:
    """Return as soon as a condition holds; fail the test when it does not."""
    async with asyncio.timeout(patience):
        while not await _value(holds()):
            await asyncio.sleep(0.005)


async def _value(answer: bool | Awaitable[bool]) -> bool:
    return await answer if inspect.isawaitable(answer) else answer


def cut_off(worker: loom.Worker) -> None:
    """Let a worker end like one that was killed: it tells nobody, and its leases run out."""
    worker.abandon()
