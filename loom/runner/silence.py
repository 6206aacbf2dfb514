"""Watching that an attempt says often enough that it lives."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import TracebackType
from typing import Self

from loom.identifiers import Micros
from loom.runner.attempts import Attempt
from loom.runner.clock import Alarm, Clock


class Silence:
    """A timeout that every heartbeat begins anew.

    A heartbeat only notes the moment. The alarm looks at it when the time would be over, so that
    heartbeats cost nothing however many there are.
    """

    def __init__(self, attempt: Attempt, clock: Clock, limit: timedelta) -> None:
        self._attempt = attempt
        self._clock = clock
        self._limit: Micros = limit // timedelta(microseconds=1)
        self._scope = asyncio.timeout(None)
        self._alarm: Alarm | None = None

    @property
    def expired(self) -> bool:
        return self._scope.expired()

    async def __aenter__(self) -> Self:
        self._attempt.beat_at = self._clock.now()
        await self._scope.__aenter__()
        self._look()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        await self._scope.__aexit__(error_type, error, trace)

    def _look(self) -> None:
        over_at = self._attempt.beat_at + self._limit
        if self._clock.now() >= over_at:
            self._scope.reschedule(asyncio.get_running_loop().time())
        else:
            self._alarm = self._clock.call_at(over_at, self._look)
