"""Signals that wait for the code, and code that waits for signals."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class SignalBox:
    """The signals of one run by name: buffered until asked for, each given out once, in order."""

    def __init__(self, create_future: Callable[[], asyncio.Future[bytes]]) -> None:
        self._create_future = create_future
        self._waiting: dict[str, deque[bytes]] = {}
        self._waiters: dict[str, deque[asyncio.Future[bytes]]] = {}

    def put(self, name: str, payload: bytes) -> None:
        """Hand a signal to the first who waits for it, or keep it."""
        waiters = self._waiters.get(name)
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(payload)
                return
        self._waiting.setdefault(name, deque()).append(payload)

    async def get(self, name: str) -> bytes:
        """Take the next signal, waiting for one if need be."""
        waiting = self._waiting.get(name)
        if waiting:
            return waiting.popleft()
        waiter = self._create_future()
        self._waiters.setdefault(name, deque()).append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # Cancelled after the signal was handed over, and before it was taken: put it back
            # first in line, since it came before whatever is waiting there now.
            if waiter.done() and not waiter.cancelled():
                self._put_back(name, waiter.result())
            raise

    def _put_back(self, name: str, payload: bytes) -> None:
        behind = self._waiting.pop(name, deque())
        self.put(name, payload)
        if behind:
            self._waiting.setdefault(name, deque()).extend(behind)
