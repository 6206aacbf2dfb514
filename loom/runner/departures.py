"""How owned runs leave their worker otherwise than by a turn: ended without their code being asked,
set apart, or given back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from loom.errors import CodecError, HistoryError, NonDeterministicWorkflowError, PayloadError
from loom.history.failures import failure_from
from loom.identifiers import MICROS_PER_SECOND, Micros
from loom.runner.activity_tasks import ActivityTasks
from loom.runner.context import WorkerContext
from loom.runner.owned_run import OwnedRun, stamped
from loom.runner.ownership import Ownership
from loom.runner.revival import read_what_is_readable
from loom.runner.transitions import (
    blocked_effects,
    cancelled_effects,
    event_of,
    terminated_effects,
)
from loom.storage.notifier import CALLED_OFF, MESSAGES, run_topic
from loom.storage.records import Effects

_log = logging.getLogger("loom.worker")

_BLOCKED_RETRY: Final = 30 * MICROS_PER_SECOND

type Write = Callable[[OwnedRun, Effects, int | None], Awaitable[bool]]
"""Writes effects on a run, and what of its inbox they consume; false when it is no longer owned."""


class Departures:
    """Ends, sets apart and gives back what a worker owns."""

    def __init__(
        self, worker: WorkerContext, owned: Ownership, activities: ActivityTasks, write: Write
    ) -> None:
        self._worker = worker
        self._repository = worker.repository
        self._clock = worker.clock
        self._owned = owned
        self._activities = activities
        self._write = write

    async def terminate(self, owned: OwnedRun) -> None:
        """End a run whose code need not be asked, and may not even be runnable."""
        arrivals = stamped(owned.arrivals, self._clock.now())
        history = await read_what_is_readable(owned.run, self._repository)
        effects = terminated_effects(owned.run, history, arrivals, after=owned.sequence)
        await self._end(owned, effects)

    async def call_off(self, owned: OwnedRun, start_at: Micros) -> None:
        """End a run that was cancelled before it was to begin, as if it had been claimed then."""
        arrivals = stamped(owned.arrivals, min(self._clock.now(), start_at - 1))
        await self._end(owned, cancelled_effects(owned.run, arrivals))

    async def _end(self, owned: OwnedRun, effects: Effects) -> None:
        """Write an end that the code has no say in."""
        if await self._write(owned, effects, None):
            final = event_of(effects.events[-1])
            self._worker.closings.announce(owned.run.run_id, final)
            self._worker.notifier.publish([run_topic(owned.run.run_id), CALLED_OFF, MESSAGES])
        for attempt in owned.local.values():
            self._activities.give_up(attempt)
        self._drop_outcomes(owned)
        self._owned.discard(owned)

    async def block(self, owned: OwnedRun, error: BaseException) -> None:
        """Set a run apart whose code, history or messages cannot be worked with."""
        await self.set_apart(owned, _reason(error), _BLOCKED_RETRY)

    async def set_apart(self, owned: OwnedRun, reason: str, wait: Micros) -> None:
        _log.error("workflow %s is BLOCKED: %s", owned.run.workflow_id, reason)
        now = self._clock.now()
        deadline = owned.run.deadline
        retry_at = min(now + wait, now + wait if deadline is None else deadline)
        effects = blocked_effects(reason, at=now, retry_at=retry_at)
        try:
            set_apart = await self._write(owned, effects, None)
        except Exception as failed:
            _log.warning("workflow %s: could not be set apart: %s", owned.run.workflow_id, failed)
            set_apart = False
        self.let_go(owned)
        if not set_apart:
            await self._owned.release(owned)

    async def abandon(self, owned: OwnedRun) -> None:
        """Give a run back whose instance is of no use: its last write was lost, or may have been,
        or a query has reached into it."""
        self.let_go(owned)
        await self._owned.release(owned)

    def let_go(self, owned: OwnedRun) -> None:
        """Throw a run's instance away, and save the outcomes that it had been given.

        They go through the store: if their turn was written after all, their tasks are gone and
        nothing happens twice.
        """
        self._owned.discard(owned)
        for incoming in [*owned.in_turn, *owned.arrivals]:
            if incoming.attempt is not None:
                self._activities.complete_later(incoming.attempt, incoming.event)
        owned.in_turn, owned.arrivals = [], []

    def leave_arrivals(self, owned: OwnedRun) -> None:
        """What came while the run was being given back. Messages are in its inbox still; of
        outcomes only those that the turn called off can come so late."""
        if owned.arrivals:
            self._owned.on_released()
        self._drop_outcomes(owned)

    def _drop_outcomes(self, owned: OwnedRun) -> None:
        for incoming in owned.arrivals:
            if incoming.attempt is not None:
                self._activities.drop(incoming.attempt)


def _reason(error: BaseException) -> str:
    """Why a run is blocked, for the person who looks at it."""
    told_in_full = NonDeterministicWorkflowError | HistoryError | PayloadError
    # A codec is somebody's code: where it failed is worth knowing.
    if isinstance(error, told_in_full) and not isinstance(error, CodecError):
        return str(error)
    failure = failure_from(error)
    return failure.traceback or f"{failure.type}: {failure.message}"
