"""Keeping what a worker holds: leases renewed from a thread of their own.

A busy event loop must not lose its leases, so they are not renewed on it. A loop that is stuck
must lose them, so that others take over: the thread watches the loop's pulse and stops renewing
when it has been silent for too long.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from loom.errors import LoomError
from loom.identifiers import MICROS_PER_SECOND, RunKey, WorkerId
from loom.runner.clock import Clock
from loom.runner.debugging import is_debugged
from loom.runner.options import RunnerOptions
from loom.storage.records import Leases, RunLease, TaskLease
from loom.storage.repository import LeaseRepository

_log = logging.getLogger("loom.worker")

_PULSE: Final = 0.5
"""Seconds between two signs of life of the event loop."""

_GATHER: Final = 0.02
"""Seconds."""

_JOIN: Final = 5.0
"""Seconds to wait for the thread's end."""


class HeldLeases:
    """The leases that a worker holds; may be used from any thread."""

    def __init__(self) -> None:
        self._runs: dict[RunKey, RunLease] = {}
        self._tasks: dict[tuple[RunKey, int], TaskLease] = {}
        self._lock = threading.Lock()

    def add_run(self, run_key: RunKey, token: int) -> None:
        with self._lock:
            self._runs[run_key] = RunLease(run_key, token)

    def drop_run(self, run_key: RunKey) -> None:
        with self._lock:
            self._runs.pop(run_key, None)

    def add_task(self, run_key: RunKey, activity_id: int, token: int) -> None:
        with self._lock:
            self._tasks[run_key, activity_id] = TaskLease(run_key, activity_id, token)

    def drop_task(self, run_key: RunKey, activity_id: int, token: int) -> None:
        """An attempt that ends late must not drop the lease of the one that has followed it."""
        with self._lock:
            held = self._tasks.get((run_key, activity_id))
            if held is not None and held.token == token:
                del self._tasks[run_key, activity_id]

    @property
    def has_tasks(self) -> bool:
        return bool(self._tasks)

    def snapshot(self) -> Leases:
        with self._lock:
            return Leases(tuple(self._runs.values()), tuple(self._tasks.values()))


class LeaseKeeper:
    """Renews a worker's leases until it is stopped."""

    def __init__(
        self,
        *,
        held: HeldLeases,
        owner: WorkerId,
        clock: Clock,
        options: RunnerOptions,
        connect: Callable[[], AbstractAsyncContextManager[LeaseRepository]],
        on_lost: Callable[[Leases], None],
    ) -> None:
        self._held = held
        self._owner = owner
        self._clock = clock
        self._options = options
        self._connect = connect
        self._on_lost = on_lost
        self._interval = options.lease / MICROS_PER_SECOND / 3
        self._last_pulse = self._steady()
        self._pulse_timer: asyncio.TimerHandle | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = asyncio.Event()
        self._wake_thread: Callable[[], None] = self._stop.set
        self._look_soon: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin renewing; call on the worker's event loop."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._pulse()
        self._thread = threading.Thread(target=self._run, name="loom-leases", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop renewing. What is still held runs out by itself."""
        if self._pulse_timer is not None:
            self._pulse_timer.cancel()
        self._stop.set()
        self._wake_thread()
        if self._thread is None:
            return
        # Not joined in a thread of the loop's pool: users' own calls may occupy all of them.
        await _wait(self._ended, _JOIN)
        if self._ended.is_set():
            self._thread.join()

    def look(self, topic: str = "") -> None:
        """See at once whether what runs here is still wanted, instead of at the next renewal."""
        if self._held.has_tasks:
            self._look_soon()

    def _steady(self) -> float:
        """Seconds, by a clock that both threads share."""
        return time.monotonic()

    def _pulse(self) -> None:
        self._last_pulse = self._steady()
        self._pulse_timer = self._loop.call_later(_PULSE, self._pulse)

    def _run(self) -> None:
        try:
            asyncio.run(self._renew_forever())
        finally:
            _call_from_outside(self._loop, self._ended.set)

    async def _renew_forever(self) -> None:
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._wake_thread = self._look_soon = lambda: _call_from_outside(loop, woken.set)
        while not self._stop.is_set():
            try:
                async with self._connect() as repository:
                    await self._renew_with(repository, woken)
            except LoomError as error:
                _log.warning("could not renew leases, trying again: %s", error)
                await self._pause(woken)
            except Exception:
                _log.exception("could not renew leases, trying again")
                await self._pause(woken)

    async def _pause(self, woken: asyncio.Event) -> None:
        woken.clear()
        if not self._stop.is_set():
            await _wait(woken, self._interval / 4)

    async def _renew_with(self, repository: LeaseRepository, woken: asyncio.Event) -> None:
        while not self._stop.is_set():
            next_at = self._steady() + self._interval
            await self._renew(repository)
            # Only in the time that is left: far from the database, a renewal that waited for the
            # clock would come when the leases have run out.
            if not self._stop.is_set() and (left := next_at - self._steady()) > 0:
                await self._clock.synchronise(repository, seconds=left)
            while not self._stop.is_set() and (left := next_at - self._steady()) > 0:
                await _wait(woken, left)
                if woken.is_set() and not self._stop.is_set():
                    # What is called off together is looked for once.
                    await asyncio.sleep(_GATHER)
                    woken.clear()
                    await self._renew(repository)

    async def _renew(self, repository: LeaseRepository) -> None:
        held = self._held.snapshot()
        if not held:
            return
        silent = (self._steady() - self._last_pulse) * MICROS_PER_SECOND
        if silent > self._options.stall and not is_debugged(self._loop_thread):
            _log.error(
                "the event loop has been stuck for %.0f s: its leases are not renewed, and others "
                "will take over",
                silent / MICROS_PER_SECOND,
            )
            return
        expires_at = self._clock.now() + self._options.lease
        lost = await repository.extend_leases(held, self._owner, expires_at)
        if lost:
            _call_from_outside(self._loop, lambda: self._on_lost(lost))


async def _wait(woken: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return


def _call_from_outside(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        # The loop has closed: there is nobody left to tell.
        _log.debug("a closed event loop could not be told of its leases")
