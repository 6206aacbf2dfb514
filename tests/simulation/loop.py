"""An event loop without time or I/O of its own: chance says who goes on next.

What happens is split into *strands*, each of which does one thing after the other, as a thread
does: the event loop of each process, the thread that renews its leases, the threads of its
activities, the store. Within a strand the order is asyncio's. Between strands it is drawn by lot,
so that one seed is one history of the world. When nobody is ready, time jumps to the next moment at
which somebody is.
"""

from __future__ import annotations

import asyncio
import heapq
import struct
import zlib
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from itertools import count
from random import Random
from typing import Any, Final

from loom.identifiers import Micros

STEP: Final = 0.000_010
"""Seconds that a callback takes."""


class Strand:
    """What runs one after the other, and can be held up or ended for good."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.queue: deque[asyncio.Handle] = deque()
        self.holds = 0
        """How many reasons there are for which it stands still."""
        self.is_dead = False
        self.threads: Strand | None = None
        """Where its calls go that are to be made in threads."""
        self.leases: Strand | None = None
        """Where its leases are renewed."""


STRAND: Final[ContextVar[Strand]] = ContextVar("strand")
"""The strand that a callback belongs to; whatever it begins inherits it."""


class Stuck(Exception):
    """The simulation went on for longer than it may."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Runs everything, in virtual time."""

    def __init__(self, chance: Random, start: Micros) -> None:
        self.chance = chance
        self.now = 0.0
        self.start = start
        self.steps = 0
        self.trace = 0
        self.current: Strand | None = None
        """Who goes on just now, whatever context its code has been given."""
        self.is_stuck = False
        """Whether somebody has seen that it leads nowhere."""
        self.tasks: list[asyncio.Task[Any]] = []
        self.unhandled: list[dict[str, Any]] = []
        self._ready: list[Strand] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Strand]] = []
        self._numbers = count()
        self._strands = count()
        self._is_over = False

    # --- strands ---

    def strand(self, name: str) -> Strand:
        return Strand(name, next(self._strands))

    def context(self, strand: Strand) -> Context:
        context = copy_context()
        context.run(STRAND.set, strand)
        return context

    def hold(self, strand: Strand) -> None:
        """Let it stand still."""
        strand.holds += 1
        if strand in self._ready:
            self._ready.remove(strand)

    def let_go(self, strand: Strand) -> None:
        strand.holds -= 1
        if not strand.holds and strand.queue:
            self._ready.append(strand)

    def kill(self, strand: Strand) -> None:
        """Nothing of it ever happens again."""
        strand.is_dead = True
        strand.queue.clear()
        if strand in self._ready:
            self._ready.remove(strand)

    def _put(self, strand: Strand, handle: asyncio.Handle) -> None:
        if strand.is_dead or self._is_over:
            return
        if not strand.queue and not strand.holds:
            self._ready.append(strand)
        strand.queue.append(handle)

    # --- running ---

    @property
    def micros(self) -> Micros:
        """The moment that it really is."""
        return self.start + round(self.now * 1_000_000)

    def run_until(self, is_over: Callable[[], bool], *, until: float, steps: int) -> None:
        """Go on until that is so, or until that moment (seconds).

        Raises ``Stuck`` when so many steps have been taken.
        """
        while not is_over():
            if self.steps >= steps or self.is_stuck:
                raise Stuck(f"after {self.steps} steps, at {self.now:.3f} s")
            if not self._ready and not self._pass_time(until):
                return
            if self._ready:
                self._step()

    def _step(self) -> None:
        ready = self._ready
        at = int(self.chance.random() * len(ready)) if len(ready) > 1 else 0
        strand = ready[at]
        handle = strand.queue.popleft()
        if not strand.queue:
            ready[at] = ready[-1]
            ready.pop()
        if handle._cancelled:  # type: ignore[attr-defined]
            return
        self.steps += 1
        self.now += STEP
        self.trace = zlib.crc32(struct.pack("<dI", self.now, strand.number), self.trace)
        self._fire(self.now)
        self.current = strand
        handle._run()

    def _pass_time(self, until: float) -> bool:
        """Jump to when something is due; false when that is not before the end."""
        timers = self._timers
        while timers and (timers[0][2]._cancelled or timers[0][3].is_dead):  # type: ignore[attr-defined]
            heapq.heappop(timers)
        if not timers or timers[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now = max(self.now, timers[0][0])
        self._fire(self.now)
        return True

    def _fire(self, now: float) -> None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            _, _, handle, strand = heapq.heappop(timers)
            if not handle._cancelled:  # type: ignore[attr-defined]
                self._put(strand, handle)

    def note(self, what: str) -> None:
        """Something that two runs of one seed must have in common."""
        self.trace = zlib.crc32(what.encode(), self.trace)

    # --- what asyncio asks of a loop ---

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._put((handle._context if context is None else context)[STRAND], handle)  # type: ignore[attr-defined]
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        strand = handle._context[STRAND]  # type: ignore[attr-defined]
        if not strand.is_dead:
            heapq.heappush(self._timers, (when, next(self._numbers), handle, strand))
        return handle

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: object = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=str(name) if name else "task", context=context)
        # What is never collected resumes nothing at a moment that nobody chose.
        self.tasks.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """A thread: it takes a while, and goes on whatever becomes of its caller."""
        future = self.create_future()
        home, threads = copy_context(), STRAND.get().threads
        assert threads is not None

        def tell(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def work() -> None:
            result, error = None, None
            try:
                result = func(*args)
            except BaseException as raised:
                error = raised
            self.call_soon(tell, result, error, context=home)

        self.call_later(self.chance.random() * 0.02, work, context=self.context(threads))
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._is_over

    def is_closed(self) -> bool:
        return self._is_over

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Left where it is, and passed over."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._is_over:
            self.unhandled.append(context)

    default_exception_handler = call_exception_handler

    # --- beginning and ending ---

    def __enter__(self) -> SimulatedLoop:
        events._set_running_loop(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of everything, here and now: nothing may be left for the garbage collector to
        resume."""
        self._is_over = True
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
        self.tasks.clear()
        events._set_running_loop(None)


def _close(coroutine: Any) -> None:
    for _ in range(10):
        try:
            coroutine.close()
        except BaseException:
            continue  # it went on to wait for something else, as a `finally` may
        return
