"""Waiting for a run, and telling on the way what keeps it up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import click

import loom
from loom.cli.obstacles import obstacle
from loom.cli.output import harmless

_PATIENCE: Final = 3.0  # seconds between two looks at what a run is kept up by


async def wait_telling(
    wait: Callable[[float], Awaitable[Any]],
    handle: loom.WorkflowHandle[Any],
    timeout: timedelta | None = None,
    *,
    interrupted: str,
) -> Any:
    """What ``wait`` gives, which takes a timeout in seconds and is tried again and again.

    Raises ``TimeoutError`` when it gives nothing in time. When it is interrupted, ``interrupted``
    is told: what goes on all the same, and how to come back to it.
    """
    try:
        return await _wait_telling(wait, handle, timeout)
    except asyncio.CancelledError:
        click.echo(harmless(interrupted), err=True)
        raise


async def _wait_telling(
    wait: Callable[[float], Awaitable[Any]],
    handle: loom.WorkflowHandle[Any],
    timeout: timedelta | None,
) -> Any:
    told = None
    async with asyncio.timeout(seconds(timeout)) as limit:
        while True:
            try:
                return await wait(_PATIENCE)
            except TimeoutError:
                if limit.expired():
                    raise
            known = obstacle(await handle.info())
            if known not in (None, told):
                click.echo(f"Still waiting: {harmless(str(known))}", err=True)
            told = known


def seconds(time: timedelta | None) -> float | None:
    """A length of time as asyncio takes it."""
    return None if time is None else time.total_seconds()
