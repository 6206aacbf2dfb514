"""What is said to runs from outside, put into their inboxes."""

from __future__ import annotations

from collections.abc import Sequence

from loom.errors import WorkflowClosedError
from loom.history.events import Event, request_message_id
from loom.identifiers import RunId, WorkflowId, new_id
from loom.runner import sizes
from loom.runner.clock import Clock
from loom.runner.group_writer import GroupWriter
from loom.runner.lookup import not_found
from loom.runner.relations import arrival_of
from loom.storage.notifier import MESSAGES
from loom.storage.records import Message, SendOutcome
from loom.storage.repository import RunRepository
from loom.storage.store import Store


class MessageSender:
    """Sends signals and requests."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._repository: RunRepository = store.repository
        self._writer = GroupWriter(self._send_together, size=sizes.of_message)
        self._notifier = store.notifier
        self._clock = clock

    async def send(
        self,
        workflow_id: WorkflowId,
        run_id: RunId | None,
        event: Event,
        request_id: str | None = None,
        *,
        urgent: bool = False,
    ) -> None:
        """Put an event into the inbox of a run; with a request id, once only. What is urgent does
        not wait for a run to begin.

        Raises ``WorkflowNotFoundError``, and ``WorkflowClosedError`` when the run has ended.
        """
        message_id = new_id() if request_id is None else request_message_id(request_id)
        message = Message(workflow_id, message_id, arrival_of(event), run_id, urgent)
        outcome = await self._writer.submit(message)
        if outcome is SendOutcome.NOT_FOUND:
            raise not_found(workflow_id, run_id)
        if outcome is SendOutcome.CLOSED:
            raise WorkflowClosedError(
                f"Workflow {workflow_id!r} has ended, so it takes no more messages."
            )
        self._notifier.publish([MESSAGES])

    async def _send_together(self, messages: Sequence[Message]) -> Sequence[SendOutcome]:
        return await self._repository.send_messages(messages, self._clock.now())
