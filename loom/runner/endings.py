"""Ending runs from outside: at once, or by asking their code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from loom.errors import HistoryError, WorkflowClosedError, WorkflowNotFoundError
from loom.given import check_text
from loom.history.events import Stamped, WorkflowCancelRequested, WorkflowTerminated
from loom.history.failures import MAX_MESSAGE, storable
from loom.identifiers import MICROS_PER_SECOND, RunId, WorkerId, WorkflowId, new_id
from loom.runner.clock import Clock
from loom.runner.closings import Closings
from loom.runner.lookup import chain_of, found_in_chain, found_run
from loom.runner.messages import MessageSender
from loom.runner.results import FIRST_POLL, LONGEST_POLL, told_of_end
from loom.runner.revival import read_what_is_readable
from loom.runner.transitions import (
    cancelled_effects,
    event_of,
    message_event,
    terminated_effects,
)
from loom.storage.notifier import CALLED_OFF, MESSAGES, run_topic
from loom.storage.records import (
    InboxRecord,
    Leases,
    RunLease,
    RunRecord,
    Transition,
    WorkflowClaim,
    WorkflowTask,
    WriteOutcome,
)
from loom.storage.repository import Repository
from loom.storage.store import Store

_TERMINATE_LEASE: Final = 10 * MICROS_PER_SECOND


class Endings:
    """Cancels and terminates runs, also those that nobody works on."""

    def __init__(
        self, store: Store, closings: Closings, clock: Clock, messages: MessageSender
    ) -> None:
        self._repository: Repository = store.repository
        self._notifier = store.notifier
        self._closings = closings
        self._clock = clock
        self._messages = messages

    async def cancel(self, workflow_id: WorkflowId, run_id: RunId | None, reason: str) -> None:
        request = WorkflowCancelRequested(_reason(reason))
        await self._messages.send(workflow_id, run_id, request, urgent=True)
        run = await self._find_last(workflow_id, run_id)
        if self._is_to_begin(run):
            # No worker takes it before, and there is no code to be asked yet.
            await self._end_unowned(run)

    def _is_to_begin(self, run: RunRecord) -> bool:
        is_early = run.start_at is not None and run.start_at > self._clock.now()
        return is_early and run.status.is_open and run.sequence == 0

    async def terminate(self, workflow_id: WorkflowId, run_id: RunId | None, reason: str) -> None:
        run = await self._tell(workflow_id, run_id, WorkflowTerminated(_reason(reason)))
        wait = FIRST_POLL
        while run.status.is_open:
            with told_of_end(run.run_id, self._notifier, self._clock) as told:
                # Whoever works on the run ends it. A run that nobody works on, perhaps because
                # nobody can, is ended from here.
                if not await self._end_unowned(run):
                    await self._clock.wait(told, wait)
                    wait = min(wait * 2, LONGEST_POLL)
            run = await self._find_last(workflow_id, run.run_id)

    async def _tell(
        self, workflow_id: WorkflowId, run_id: RunId | None, request: WorkflowTerminated
    ) -> RunRecord:
        """Send it to the run there is, and to no other that takes its id meanwhile."""
        run = await self._find_last(workflow_id, run_id)
        while True:
            try:
                await self._messages.send(workflow_id, run.run_id, request, urgent=True)
                return run
            except (WorkflowClosedError, WorkflowNotFoundError):
                newest = await self._find_last(workflow_id, run_id)
                if newest.run_id == run.run_id:
                    raise
                run = newest

    async def _find_last(self, workflow_id: WorkflowId, run_id: RunId | None) -> RunRecord:
        """The run itself, or the open one that continues it, to which its messages go."""
        run = await found_in_chain(self._repository, workflow_id, run_id)
        if run.status.is_open or run_id is None:
            return run
        newest = await found_run(self._repository, workflow_id)
        return newest if chain_of(newest) == chain_of(run) else run

    async def _end_unowned(self, run: RunRecord) -> bool:
        """Claim a run and end it, if nobody holds it."""
        owner, now = new_id(), self._clock.now()
        claimed = await self._repository.claim_workflow_tasks(
            WorkflowClaim(
                owner=owner,
                queue=run.queue,
                definitions=(),
                now=now,
                lease_expires_at=now + _TERMINATE_LEASE,
                limit=1,
                run_key=run.run_key,
            )
        )
        for task in claimed.tasks:
            ended = await self._ending(task, owner)
            if ended is not None:
                return await self._write_end(ended, run.run_id)
            # Its message has been taken by somebody else meanwhile: leave the run to them.
            lease = RunLease(task.run.run_key, task.token)
            await self._repository.release_leases(Leases((lease,)), self._clock.now())
        return False

    async def _ending(self, task: WorkflowTask, owner: WorkerId) -> Transition | None:
        arrivals, run = list(self._readable(task.messages)), task.run
        kinds = {type(arrival.event) for arrival in arrivals}
        if WorkflowTerminated not in kinds:
            if WorkflowCancelRequested not in kinds or not self._is_to_begin(run):
                return None
            effects = cancelled_effects(run, arrivals)
            return Transition(run.run_key, task.token, run.sequence, effects, owner=owner)
        history = await read_what_is_readable(run, self._repository)
        effects = terminated_effects(run, history, arrivals, after=run.sequence)
        return Transition(run.run_key, task.token, run.sequence, effects, owner=owner)

    def _readable(self, messages: Sequence[InboxRecord]) -> Iterator[Stamped]:
        """A message that cannot be read must not keep its run from being ended."""
        now = self._clock.now()
        for message in messages:
            with suppress(HistoryError):
                yield Stamped(message_event(message), now, message.message_id)

    async def _write_end(self, ended: Transition, run_id: RunId) -> bool:
        (outcome,) = await self._repository.write_transitions([ended])
        if outcome is WriteOutcome.WRITTEN:
            self._closings.announce(run_id, event_of(ended.effects.events[-1]))
            self._notifier.publish([run_topic(run_id), CALLED_OFF, MESSAGES])
        return outcome is WriteOutcome.WRITTEN


def _reason(given: object) -> str:
    """Why somebody ends a run; it may be empty."""
    return storable(check_text("reason", given), MAX_MESSAGE)
