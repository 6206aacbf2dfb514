"""The handlers of one run, from being called to their end.

The rules:

1. A signal that has a handler starts a task of it when it is delivered, so that handlers begin in
   the order of arrival. Nothing of that is recorded: it follows from the arrivals.
2. A run whose code has returned stays open until the handlers have ended that it waits for.
3. When a signal's handler raises, or the code does, all others are cancelled, and the run closes
   when they have ended: as with the tasks of a ``TaskGroup``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from loom.authoring.handlers import HandlerDefinition, HandlerKind, HandlerTable
from loom.engine.continuation import continuation_in
from loom.engine.recorder import Recorder
from loom.engine.run_log import RunLog
from loom.errors import DefinitionError, PayloadError, StopReplay
from loom.history.events import SignalReceived


class RunningHandlers:
    """The tasks of one run's handlers.

    Attributes:
        table: all the handlers that there are.
        workflow: the object whose methods they are, once there is one.
        is_ending: whether those that run were cancelled, and no more begin.
        error: what a signal's handler raised first, which fails the run.
    """

    def __init__(self, handlers: HandlerTable, recorder: Recorder, log: RunLog) -> None:
        self.table = handlers
        self.recorder = recorder
        self._log = log
        self._running: dict[asyncio.Task[None], HandlerDefinition] = {}
        self.is_ending = False
        self._main: asyncio.Task[Any] | None = None
        self.workflow: Any = None
        self.error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._running)

    @property
    def may_close(self) -> bool:
        """Whether none is running that the run's end waits for."""
        return all(handler.unfinished == "abandon" for handler in self._running.values())

    # --- what arrives ---

    def take_signal(self, event: SignalReceived) -> bool:
        """Start the handler of a signal; whether there is one."""
        handler = self.table.find(HandlerKind.SIGNAL, event.name)
        if handler is None or self.is_ending:
            return False
        self.start(handler, self._run_signal(handler, event))
        return True

    def refuse_waiting_for(self, name: str) -> None:
        """Raises ``DefinitionError`` for the name of signals that will never get to who waits."""
        if self.table.find(HandlerKind.SIGNAL, name) is not None:
            raise DefinitionError(
                f"The workflow has a handler for the signal {name!r}, which takes every signal of "
                "that name: there is none to wait for. Keep what it brings in an attribute."
            )

    def refuse_in_handlers(self, what: str) -> None:
        """Raises ``DefinitionError`` where the code of a handler is running."""
        handler = self._running.get(asyncio.current_task())  # type: ignore[arg-type]
        if handler is not None:
            raise DefinitionError(
                f"{what} is for the workflow's own code, and was called in a handler: let the "
                "handler set an attribute, and wait for that in the workflow's code."
            )

    def start(self, handler: HandlerDefinition, code: Awaitable[None]) -> None:
        """Run a handler's code as a task of its own."""
        task = self.recorder.loop.start(code)
        self._running[task] = handler
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)

    # --- their code ---

    async def _run_signal(self, handler: HandlerDefinition, event: SignalReceived) -> None:
        try:
            arguments = handler.read(event.name, event.payload, self.recorder.decode)
        except PayloadError as error:
            # Whoever sent it has gone on long ago; the run must outlive what strangers send it.
            text = f"The signal {event.name!r} was dropped: {error}"
            self._log.log(logging.ERROR, lambda: text)
            return
        try:
            await self.call(handler, arguments)
        except (StopReplay, GeneratorExit):
            raise
        except BaseException as error:
            if not (self.is_ending and isinstance(error, asyncio.CancelledError)):
                self._fail(error)

    async def call(self, handler: HandlerDefinition, arguments: dict[str, Any]) -> Any:
        """What a plain or an ``async`` handler returns."""
        answer = handler.call(self.workflow, arguments)
        return await answer if isinstance(answer, Awaitable) else answer

    # --- the end ---

    def watch(self, main: asyncio.Task[Any]) -> None:
        """Tell of the run's first task, without which none goes on."""
        if self.table:
            self._main = main
            main.add_done_callback(self._main_ended)

    def _main_ended(self, main: asyncio.Task[Any]) -> None:
        if main.cancelled() or not _has_returned(main.exception()):
            self.cancel()

    def _fail(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
        self.cancel(but=asyncio.current_task())
        if self._main is not None:
            self._main.cancel()

    def cancel(self, *, but: asyncio.Task[Any] | None = None) -> None:
        """Cancel all others that are running, and start no more."""
        self.is_ending = True
        for task in tuple(self._running):
            if task is not but:
                task.cancel()

    def let_go(self) -> None:
        """Forget what refers back to the run."""
        self.workflow = self._main = None
        self._running.clear()


def _has_returned(error: BaseException | None) -> bool:
    """Whether the code came to an end by itself; so it has when the run continues as new."""
    return error is None or continuation_in(error) is not None
