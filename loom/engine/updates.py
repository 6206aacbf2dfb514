"""The updates of one run: let in or not, and from there to what their senders are told.

The rules:

1. An update is validated when it would be delivered. One that is rejected has reached nobody: its
   sender is told, and the run's history does not know of it.
2. An accepted one is an arrival, and its handler a task. What comes of it is a command, and the
   answer to its sender.
3. Whoever sent one that is not done when the run ends is told so.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from loom.authoring.handlers import HandlerDefinition, HandlerKind
from loom.engine.handlers import RunningHandlers
from loom.engine.matching import unhandled
from loom.errors import LoomError, PayloadError, ReadOnlyError, StopReplay, UpdateRejectedError
from loom.history.events import (
    UpdateAccepted,
    UpdateAnswer,
    UpdateCompleted,
    UpdateFailed,
    UpdateRejected,
    UpdateRequested,
    UpdateUnfinished,
)
from loom.history.failures import Failure, failure_from, type_name


class Updates:
    """Updates by id, from acceptance to answer."""

    def __init__(self, handlers: RunningHandlers) -> None:
        self._handlers = handlers
        self._recorder = handlers.recorder
        self._unfinished: dict[str, None] = {}
        self._answers: list[UpdateAnswer] = []

    # --- what arrives ---

    def admit(self, request: UpdateRequested, copied: Callable[[Any], Any]) -> bool:
        """Whether an update is accepted; if not, its sender is to be told why.

        ``copied`` makes the copy of the code's object that the validator is called on.
        """
        handlers = self._handlers
        if handlers.workflow is None or handlers.is_ending:
            self._answers.append(UpdateUnfinished(request.update_id, accepted=False))
            return False
        failure = self._refusal(request, copied)
        if failure is not None:
            self._answers.append(UpdateRejected(request.update_id, failure))
        return failure is None

    def _refusal(self, request: UpdateRequested, copied: Callable[[Any], Any]) -> Failure | None:
        table, name = self._handlers.table, request.name
        handler = table.find(HandlerKind.UPDATE, name)
        if handler is None:
            known = ", ".join(map(repr, table.names(HandlerKind.UPDATE))) or "none"
            message = f"The workflow has no update {name!r}; it has: {known}."
            return Failure(type_name(UpdateRejectedError), message)
        try:
            arguments = handler.read(name, request.payload, self._recorder.decode)
        except PayloadError as error:
            return failure_from(error)
        if handler.validator is None:
            return None
        try:
            self._validate(handler, arguments, copied(self._handlers.workflow))
        except (StopReplay, KeyboardInterrupt):
            raise
        except BaseException as error:
            # Whatever it is, such as the panic of an extension: it is the sender's to be told.
            return failure_from(error)
        return None

    def _validate(
        self, handler: HandlerDefinition, arguments: dict[str, Any], workflow: object
    ) -> None:
        recorder = self._recorder
        try:
            with recorder.reading(f"The validator of the update {handler.name!r}"):
                answer = handler.validate(workflow, arguments)
                if inspect.iscoroutine(answer):
                    answer.close()
                    raise ReadOnlyError("A validator returned something to be awaited.")
        finally:
            if recorder.disturbed:
                # What the live code waits for is no longer what its history says.
                raise recorder.halt(_disturbed(handler))

    def take(self, event: UpdateAccepted) -> None:
        """Start the handler of an update that was accepted."""
        handler = self._handlers.table.find(HandlerKind.UPDATE, event.name)
        if handler is None:
            raise unhandled(event)
        self._unfinished[event.update_id] = None
        self._handlers.start(handler, self._run(handler, event))

    # --- their code ---

    async def _run(self, handler: HandlerDefinition, event: UpdateAccepted) -> None:
        try:
            arguments = handler.read(event.name, event.payload, self._recorder.decode)
            result = await self._handlers.call(handler, arguments)
            payload = self._recorder.encode(
                result, handler.result_type, "The result of update", event.name
            )
        except (StopReplay, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._handlers.is_ending:
                return
            self._finish(UpdateFailed(event.update_id, failure_from(error)))
        else:
            self._finish(UpdateCompleted(event.update_id, payload))

    def _finish(self, outcome: UpdateCompleted | UpdateFailed) -> None:
        self._recorder.record(outcome, in_code=False)
        self._unfinished.pop(outcome.update_id, None)
        self._answer(outcome)

    # --- what their senders are told ---

    def abandon(self) -> None:
        """The run has ended: whatever is not done never will be."""
        for update_id in self._unfinished:
            self._answer(UpdateUnfinished(update_id))
        self._unfinished.clear()

    def _answer(self, answer: UpdateAnswer) -> None:
        # While it is replayed its sender has been told already.
        if not self._recorder.is_replaying and not self._recorder.loop.halted:
            self._answers.append(answer)

    def take_answers(self) -> Sequence[UpdateAnswer]:
        """What was to be told since the last time."""
        answers, self._answers = self._answers, []
        return answers


def _disturbed(handler: HandlerDefinition) -> LoomError:
    return LoomError(
        f"The validator of the update {handler.name!r} has woken up what the run's code waits for. "
        "A validator may only look, and raise."
    )
