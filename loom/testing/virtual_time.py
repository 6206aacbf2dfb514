"""Time that stands still until nothing else can happen, and then is skipped.

The rules:

1. Time moves only by jumps, each to the first moment at which something is due.
2. It jumps only while somebody waits for it to: for a result, or for time to pass.
3. It never jumps while anything goes on: a call to the store, an activity, or any callback that is
   ready on the event loop. Nothing is polled and nothing is guessed from how long it took.
4. Who waits when nothing is going on, and nothing is ever due, is told so.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

from loom.errors import ConfigurationError, LoomError
from loom.identifiers import END_OF_TIME, Micros, RunId

_PATIENCE: Final = 0.5
"""Seconds of real time that a test has for something of its own, once nothing else can go on."""


class VirtualAlarm:
    """What is called at a moment of virtual time."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.is_over = False
        self.on_over: Callable[[VirtualAlarm], object] = lambda alarm: None
        self._callback = callback
        self._context = contextvars.copy_context()
        self._handle: asyncio.Handle | None = None

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._end()

    def fire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call back soon: until then it can be cancelled still."""
        if not self.is_over:
            self._handle = loop.call_soon(self._run, context=self._context)

    def _run(self) -> None:
        self._end()
        self._callback()

    def _end(self) -> None:
        self.is_over = True
        self.on_over(self)


class Wait:
    """Somebody who waits, and can be sent on or told that it is in vain."""

    def __init__(self, scope: asyncio.Timeout) -> None:
        self._scope = scope
        self.error: LoomError | None = None

    def end(self, error: LoomError | None = None) -> None:
        self.error = error
        expire(self._scope)


class VirtualTime:
    """The time of everybody in one environment."""

    def __init__(self, start: Micros) -> None:
        self._loop = asyncio.get_running_loop()
        if not hasattr(self._loop, "_ready"):
            raise ConfigurationError(
                f"Virtual time needs asyncio's own event loop, and this is a {self._loop!r}: it "
                "cannot be seen whether anything is ready to run there."
            )
        self._context = contextvars.Context()
        self.now = start
        self.watchers: Counter[asyncio.Task[Any]] = Counter()
        """The tasks that wait for runs, or for time to pass."""
        self.watched: Counter[RunId] = Counter()
        self.waits: dict[Wait, asyncio.Task[Any] | None] = {}
        self._due: list[tuple[Micros, int, VirtualAlarm]] = []
        self._guessed: list[tuple[Micros, int, VirtualAlarm]] = []
        self._numbers = count()
        self._going_on = 0
        self._considering = False
        self._settling: list[asyncio.Future[None]] = []
        self._is_patient = False
        self.before_jump: Callable[[Micros], Awaitable[None] | None] = lambda horizon: None
        """Asked before a jump, with the first moment at which something is known to be due;
        returns what must be done first, if anything must."""
        self.is_hopeless: Callable[[], bool] = lambda: False
        """Whether waiting is in vain although something is due."""
        self.explain: Callable[[], Awaitable[LoomError]] = _unexplained
        """Says why nothing can go on."""

    # --- what goes on ---

    def take_hold(self) -> None:
        """Something goes on that takes its own time."""
        self._going_on += 1
        self._is_patient = False

    def let_go(self) -> None:
        self._going_on -= 1
        self.consider()

    @contextmanager
    def held(self) -> Iterator[None]:
        self.take_hold()
        try:
            yield
        finally:
            self.let_go()

    @contextmanager
    def watching(self, run_id: RunId | None = None) -> Iterator[None]:
        """Held by a task that waits for time to pass, and for that run if there is one."""
        task = asyncio.current_task()
        assert task is not None
        self.watchers[task] += 1
        if run_id is not None:
            self.watched[run_id] += 1
        self.consider()
        try:
            yield
        finally:
            _take_one(self.watchers, task)
            if run_id is not None:
                _take_one(self.watched, run_id)

    # --- alarms ---

    def call_at(
        self, moment: Micros, callback: Callable[[], object], *, guessed: bool = False
    ) -> VirtualAlarm:
        """Call back at a moment.

        Args:
            guessed: that something is due then is only what the store has hinted at: it may be no
                more than the end of a lease that is going to be renewed.
        """
        alarm = VirtualAlarm(callback)
        if moment <= self.now:
            alarm.fire(self._loop)
        else:
            entry = (moment, next(self._numbers), alarm)
            heapq.heappush(self._guessed if guessed else self._due, entry)
        self.consider()
        return alarm

    def jump(self, moment: Micros) -> None:
        """Let it be that moment, and whatever was due until then happen."""
        self.now = max(self.now, moment)
        due: list[tuple[Micros, int, VirtualAlarm]] = []
        for alarms in (self._due, self._guessed):
            while alarms and alarms[0][0] <= self.now:
                due.append(heapq.heappop(alarms))
        for _, _, alarm in sorted(due, key=lambda entry: entry[:2]):
            alarm.fire(self._loop)
        self.consider()

    # --- going on when nothing goes on ---

    async def settled(self) -> None:
        """Wait until nothing goes on."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._settling.append(future)
        self.consider()
        await future

    def consider(self) -> None:
        """Look, as soon as everything that is ready has run, whether anything goes on still."""
        if not self._considering:
            self._considering = True
            self._loop.call_soon(self._look, context=self._context)

    def _look(self) -> None:
        self._considering = False
        if self._going_on:
            return  # who lets go last looks again
        ready: Any = self._loop._ready  # type: ignore[attr-defined]
        if not all(map(_is_look, ready)):
            self.consider()
        elif self._settling:
            settling, self._settling = self._settling, []
            for future in settling:
                if not future.done():
                    future.set_result(None)
            self.consider()
        elif self.watchers:
            self._go_on()

    def _go_on(self) -> None:
        known, guessed = _first(self._due), _first(self._guessed)
        preparing = self.before_jump(known)
        if preparing is not None:
            self._do(preparing)
            return
        moment = min(known, guessed)
        # What is due at the end of time is never due.
        if moment >= END_OF_TIME or self.is_hopeless():
            self._lose_hope()
        else:
            self.jump(moment)

    def _lose_hope(self) -> None:
        """A test may have tasks of its own, with real waits in them: they are given a moment."""
        if not self._is_patient:
            self._is_patient = True
            self._loop.call_later(_PATIENCE, self._give_up)

    def _give_up(self) -> None:
        if self._is_patient and not self._going_on and self.waits:
            self._do(self._tell_watchers())

    async def _tell_watchers(self) -> None:
        waits = [wait for wait, task in self.waits.items() if task in self.watchers]
        error = await self.explain()
        for wait in waits:
            wait.end(error)

    def _do(self, work: Awaitable[None]) -> None:
        async def do() -> None:
            with self.held():
                await work

        self._working = self._loop.create_task(do())


def expire(scope: asyncio.Timeout) -> None:
    """Let a timeout run out, unless it is over."""
    try:
        scope.reschedule(asyncio.get_running_loop().time())
    except RuntimeError:
        return


def _is_look(handle: Any) -> bool:
    """Whether a callback is that of another environment, which looks as well."""
    return getattr(handle._callback, "__func__", None) is VirtualTime._look


def _first(alarms: list[tuple[Micros, int, VirtualAlarm]]) -> Micros:
    while alarms and alarms[0][2].is_over:
        heapq.heappop(alarms)
    return alarms[0][0] if alarms else END_OF_TIME


def _take_one[T](counter: Counter[T], key: T) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


async def _unexplained() -> LoomError:
    return LoomError("Nothing can go on.")
