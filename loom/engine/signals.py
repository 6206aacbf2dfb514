"""Signals that wait for the code, and code that waits for signals."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class SignalBox:
    """The signals of one run by name: buffered until asked for, each given out once, in order.

    A name has an entry only while something waits: code may make up a new name for every reply.
    """

    def __init__(self, create_future: Callable[[], asyncio.Future[bytes]]) -> None:
        self._create_future = create_future
        self._waiting: dict[str, deque[bytes]] = {}
        self._waiters: dict[str, deque[asyncio.Future[bytes]]] = {}

    def put(self, name: str, payload: bytes) -> None:
        """Hand a signal to the first who waits for it, or keep it."""
        if not self._hand_over(name, payload):
            self._waiting.setdefault(name, deque()).append(payload)

    def __contains__(self, name: str) -> bool:
        """Whether a signal of that name is waiting."""
        return name in self._waiting

    @property
    def unread(self) -> list[tuple[str, bytes]]:
        """The signals that nobody has taken, those of one name in order of arrival."""
        return [(name, payload) for name, waiting in self._waiting.items() for payload in waiting]

    async def get(self, name: str) -> bytes:
        """Take the next signal, waiting for one if need be."""
        waiting = self._waiting.get(name)
        if waiting:
            payload = waiting.popleft()
            if not waiting:
                del self._waiting[name]
            return payload
        waiter = self._create_future()
        self._waiters.setdefault(name, deque()).append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._put_back(name, waiter.result())
            else:
                self._forget(name, waiter)
            raise

    def _hand_over(self, name: str, payload: bytes) -> bool:
        """Give a signal to the first who still waits for it; whether there was one."""
        waiters = self._waiters.get(name)
        while waiters:
            waiter = waiters.popleft()
            if not waiters:
                del self._waiters[name]
            if not waiter.done():
                waiter.set_result(payload)
                return True
        return False

    def _forget(self, name: str, waiter: asyncio.Future[bytes]) -> None:
        waiters = self._waiters.get(name)
        if waiters and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[name]

    def _put_back(self, name: str, payload: bytes) -> None:
        """Cancelled after it was handed over and before it was taken: it is first in line again,
        since it came before whatever is waiting there now."""
        if not self._hand_over(name, payload):
            self._waiting.setdefault(name, deque()).appendleft(payload)
