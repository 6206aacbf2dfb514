"""Loom as it was before what the simulation had found was mended, where that is easily put back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from loom.runner.leases import LeaseKeeper, _wait
from loom.runner.ownership import Ownership
from loom.storage.records import InboxRecord
from tests.simulation.mutant import Mutant


def _leases_after_the_clock(original: Any) -> Any:
    """Renewed once the clock is set, which takes three round trips."""

    async def renew_with(self: LeaseKeeper, repository: Any, woken: asyncio.Event) -> None:
        while not self._stop.is_set():
            await self._clock.synchronise(repository)
            await self._renew(repository)
            next_at = self._steady() + self._interval
            while not self._stop.is_set() and (left := next_at - self._steady()) > 0:
                await _wait(woken, left)
                woken.clear()

    return renew_with


def _stale_claims(original: Any) -> Any:
    """Also of what was given back while they were under way."""

    @contextmanager
    def claiming(self: Ownership) -> Iterator[set[Any]]:
        with original(self):
            yield set()

    return claiming


def _all_move(original: Any) -> Any:
    return property(lambda self: True)


UNMENDED: Final = (
    Mutant("leases are renewed late", LeaseKeeper, "_renew_with", _leases_after_the_clock),
    Mutant("what is given back is begun again", Ownership, "claiming", _stale_claims),
    Mutant("outcomes move on to the next run", InboxRecord, "may_move", _all_move),
)
"""A fourth is in ``more_mutants``: a start's signal that comes again starts another."""
