"""Bringing about, and waiting for, what a test is about; never waiting for a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

import loom

PATIENCE = 30.0
"""Seconds after which what has not happened will not happen."""


async def eventually(
    holds: Callable[[], bool | Awaitable[bool]], patience: float = PATIENCE
) -> None:
    """Return as soon as a condition holds; fail the test when it does not."""
    async with asyncio.timeout(patience):
        while not await _value(holds()):
            await asyncio.sleep(0.005)


async def given_time(trial: Callable[[float], Awaitable[None]], *seconds: float) -> None:
    """Try what must be quick enough for a time, with the first of the times that is long enough.

    For what ends by the clock of the database or of the machine, which no test can set: a lease
    that must not run out, a timeout that must not come before what it is to interrupt. A machine
    may keep anything waiting for a second, but not for as long as the last of these times.
    """
    *shorter, longest = seconds
    for each in shorter:
        with suppress(Exception):
            try:
                return await trial(each)
            except pytest.fail.Exception as failed:
                # That the whole test has taken too long is no reason to go on.
                if "pytest-timeout" in str(failed):
                    raise
    return await trial(longest)


async def _value(answer: bool | Awaitable[bool]) -> bool:
    return await answer if inspect.isawaitable(answer) else answer


def cut_off(worker: loom.Worker) -> None:
    """Let a worker end like one that was killed: it tells nobody, and its leases run out."""
    worker.abandon()
