"""Updates as their senders see them: a message, and an answer that is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from loom.errors import (
    LoomError,
    UpdateError,
    UpdateFailedError,
    UpdateRejectedError,
    UpdateUnfinishedError,
    WorkflowClosedError,
)
from loom.history.events import (
    Event,
    UpdateFailed,
    UpdateRejected,
    UpdateRequested,
    UpdateUnfinished,
    update_message_id,
)
from loom.history.failures import Failure
from loom.identifiers import MessageId, RunId, RunKey, WorkflowId
from loom.runner import sizes
from loom.runner.calls import EncodedCall
from loom.runner.clock import Clock
from loom.runner.group_writer import check_size
from loom.runner.lookup import chain_of, found_in_chain, found_run
from loom.runner.relations import arrival_of
from loom.runner.transitions import answer_event
from loom.storage.notifier import MESSAGES, Notifier, answer_topic, run_topic
from loom.storage.records import Message, RunRecord, SendOutcome
from loom.storage.repository import RunRepository
from loom.storage.store import Store

_FIRST_POLL: Final = 0.02  # seconds
_LONGEST_POLL: Final = 1.0
_LONGEST_POLL_WHEN_TOLD: Final = 10.0


class UpdateSender:
    """Sends updates, and waits for what becomes of them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._repository: RunRepository = store.repository
        self._notifier: Notifier = store.notifier
        self._clock = clock

    async def send(
        self, workflow_id: WorkflowId, run_id: RunId | None, update_id: str, call: EncodedCall
    ) -> RunRecord:
        """Put an update into the inbox of a run, which is returned.

        Raises ``WorkflowClosedError`` when it has ended, and ``WorkflowNotFoundError`` when there
        is none.
        """
        request = arrival_of(UpdateRequested(update_id, call.name, call.payload))
        run = await found_in_chain(self._repository, workflow_id, run_id)
        # To that very run, or to what continues it: there the answer will be.
        while True:
            message = Message(workflow_id, update_message_id(update_id), request, run.run_id)
            check_size(sizes.of_message(message))
            (outcome,) = await self._repository.send_messages([message], self._clock.now())
            if outcome is SendOutcome.ACCEPTED:
                self._notifier.publish([MESSAGES])
                return run
            newest = await found_in_chain(self._repository, workflow_id, run_id)
            if newest.run_id == run.run_id:
                raise _closed(workflow_id)
            run = newest

    async def outcome(self, workflow_id: WorkflowId, run_id: RunId | None, update_id: str) -> Event:
        """What has become of an update, once something has.

        Raises ``WorkflowNotFoundError`` when the run is gone.
        """
        run = await found_in_chain(self._repository, workflow_id, run_id)
        message_id = update_message_id(update_id)
        with self._told(run, message_id) as told:
            longest = _LONGEST_POLL_WHEN_TOLD if self._notifier.crosses_processes else _LONGEST_POLL
            wait = _FIRST_POLL
            while True:
                told.clear()
                # In this order: the last turn of a run may give the answer.
                last = await self._last_of_chain(run)
                answer = await self._repository.find_answer(chain_of(run), message_id)
                if answer is not None:
                    return answer_event(answer)
                if not last.status.is_open:
                    accepted = await self._has_taken({run.run_key, last.run_key}, message_id)
                    return UpdateUnfinished(update_id, accepted)
                await self._clock.wait(told, wait)
                wait = min(wait * 2, longest)

    @contextmanager
    def _told(self, run: RunRecord, message_id: MessageId) -> Iterator[asyncio.Event]:
        """An event that is set when somebody says that there may be an answer."""
        told = asyncio.Event()
        topics = answer_topic(message_id), run_topic(run.run_id)
        ends = [self._notifier.subscribe(topic, lambda _: told.set()) for topic in topics]
        try:
            with self._clock.watching(run.run_id):
                yield told
        finally:
            for unsubscribe in ends:
                unsubscribe()

    async def _last_of_chain(self, run: RunRecord) -> RunRecord:
        """The run as it stands now, or the newest that continues it."""
        newest = await found_run(self._repository, run.workflow_id)
        if chain_of(newest) == chain_of(run):
            return newest
        return await found_run(self._repository, run.workflow_id, run.run_id)

    async def _has_taken(self, run_keys: set[RunKey], message_id: MessageId) -> bool:
        for run_key in run_keys:
            after = 0
            while page := await self._repository.read_history(run_key, after=after):
                if any(event.message_id == message_id for event in page):
                    return True
                after = page[-1].sequence
        return False


def update_error(outcome: Event, workflow_id: WorkflowId, update_id: str) -> LoomError:
    """The error that an update's sender gets when there is no result."""
    what = f"The update {update_id!r} of workflow {workflow_id!r}"
    match outcome:
        case UpdateRejected(failure=failure):
            text = f"{what} was rejected: {failure.type}: {failure.message}"
            return _error(UpdateRejectedError, text, workflow_id, update_id, failure)
        case UpdateFailed(failure=failure):
            text = f"{what} failed: {failure.type}: {failure.message}"
            return _error(UpdateFailedError, text, workflow_id, update_id, failure)
        case UpdateUnfinished(accepted=False):
            return WorkflowClosedError(
                f"Workflow {workflow_id!r} has ended without taking an update {update_id!r}: it "
                "came too late, or was never sent."
            )
    text = f"{what} had been accepted, but the run ended before it was done."
    return UpdateUnfinishedError(text, workflow_id=workflow_id, update_id=update_id)


def _error(
    kind: type[UpdateError], text: str, workflow_id: WorkflowId, update_id: str, failure: Failure
) -> UpdateError:
    return kind(
        text,
        workflow_id=workflow_id,
        update_id=update_id,
        cause_type=failure.type,
        cause_message=failure.message,
        cause_traceback=failure.traceback,
    )


def _closed(workflow_id: WorkflowId) -> WorkflowClosedError:
    return WorkflowClosedError(f"Workflow {workflow_id!r} has ended, so it takes no more messages.")
