"""One loop for both kinds of task: claim, work, wait until there may be more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from loom.errors import LoomError
from loom.identifiers import MICROS_PER_SECOND, Micros
from loom.runner.clock import Clock
from loom.values import value

_log = logging.getLogger("loom.worker")

_SHORTEST_WAIT: Final[Micros] = 5_000
_FIRST_POLL: Final = 0.02
"""Seconds."""


@value(frozen=True, slots=True)
class Claimed:
    """What a claim brought."""

    found: bool
    """Whether it found anything, so that there may be more at once."""
    next_due_at: Micros | None = None


class TaskLoop:
    """Claims when told to, when something is due, and now and then.

    While nothing is found the time between two looks doubles, up to ``longest_wait`` (seconds): a
    busy neighbour's work is seen soon, and an idle database is left alone.
    """

    def __init__(
        self,
        name: str,
        claim: Callable[[], Awaitable[Claimed]],
        clock: Clock,
        longest_wait: Callable[[], float],
    ) -> None:
        self._name = name
        self._claim = claim
        self._clock = clock
        self._longest_wait = longest_wait
        self._woken = False
        self._changed = asyncio.Event()
        self._alarm: Micros | None = None
        self._stopping = False
        self._wait = _FIRST_POLL

    def wake(self, topic: str = "") -> None:
        """Look for work at once."""
        self._woken = True
        self._wait = _FIRST_POLL
        self._changed.set()

    def due_at(self, moment: Micros) -> None:
        """Something that this loop may claim will be due then."""
        if self._alarm is None or moment < self._alarm:
            self._alarm = moment
            self._changed.set()

    def stop(self) -> None:
        """End after the claim that is under way."""
        self._stopping = True
        self.wake()

    async def run(self) -> None:
        while not self._stopping:
            self._woken = False
            # The claim sees what was due before it, and says when the next is.
            self._alarm = None
            claimed = await self._claim_safely()
            if claimed.found:
                self._wait = _FIRST_POLL
                # Let what was claimed begin before more is taken.
                await asyncio.sleep(0)
            else:
                await self._wait_for_work(claimed.next_due_at)

    async def _claim_safely(self) -> Claimed:
        try:
            return await self._claim()
        except LoomError as error:
            _log.warning("%s: could not look for work, trying again: %s", self._name, error)
        except Exception:
            _log.exception("%s: could not look for work, trying again", self._name)
        self._wait = max(self._wait, 0.1)
        return Claimed(False, self._clock.now() + round(self._wait * MICROS_PER_SECOND))

    async def _wait_for_work(self, next_due_at: Micros | None) -> None:
        """Until woken, or until something is due, or until it is time for another look."""
        # By the loop's clock: the other may be set back, and would have it wait all that time.
        now = asyncio.get_running_loop().time
        look_at = now() + self._next_wait()
        if next_due_at is not None:
            # What is due and was not found is in somebody else's hands: no spinning on it.
            self.due_at(max(next_due_at, self._clock.now() + _SHORTEST_WAIT))
        while not self._woken:
            self._changed.clear()
            left = look_at - now()
            if left <= 0 or self._is_due():
                return
            await self._clock.wait(self._changed, left, until=self._alarm)

    def _is_due(self) -> bool:
        return self._alarm is not None and self._alarm <= self._clock.now()

    def _next_wait(self) -> float:
        longest = self._longest_wait()
        seconds, self._wait = min(self._wait, longest), min(self._wait * 2, longest)
        return seconds
