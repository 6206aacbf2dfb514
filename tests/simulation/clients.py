"""Clients: what they do to runs, again and again until they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import loom
from loom.identifiers import RunId, new_id
from loom.storage.records import Arrival, Message
from tests.proof.records import NOTHING, Asked, Outcome, Told
from tests.simulation.network import Network
from tests.simulation.nodes import Node
from tests.simulation.plan import Deed, Script, Step
from tests.simulation.programs import Program

PATIENCE: Final = 40.0
"""Seconds that a client waits for one answer."""

_ASKED = {
    Deed.START: Asked.START,
    Deed.SIGNAL: Asked.SIGNAL,
    Deed.UPDATE: Asked.UPDATE,
    Deed.CANCEL: Asked.CANCEL,
    Deed.TERMINATE: Asked.TERMINATE,
    Deed.RESULT: Asked.RESULT,
}


class Player:
    """Plays one script, in whichever process lives to do so."""

    def __init__(self, script: Script, network: Network) -> None:
        self.script = script
        self.told: list[Told] = []
        self.odd: list[str] = []
        """Errors that no client should see."""
        self.run_id: RunId | None = None
        self.results: list[Any] = []
        self._network = network
        self._next = 0

    @property
    def is_over(self) -> bool:
        return self._next >= len(self.script.steps)

    @property
    def is_disturbed(self) -> bool:
        """Whether somebody ends the run before its time."""
        return bool(self.script.deeds & {Deed.CANCEL, Deed.TERMINATE, Deed.POISON})

    async def play(self, node: Node) -> None:
        """Go on from where the last process has died."""
        while not self.is_over:
            step = self.script.steps[self._next]
            await asyncio.sleep(step.after)
            for _ in range(step.times):
                await self._insist(step, node)
            self._next += 1

    async def _insist(self, step: Step, node: Node) -> None:
        """Until there is an answer, whatever it is."""
        if Deed.POISON in self.script.deeds and step.deed in (Deed.UPDATE, Deed.RESULT):
            return  # it may never be answered
        while not await self._try(step, node):
            await asyncio.sleep(0.1)

    async def _try(self, step: Step, node: Node) -> bool:
        """Whether it was answered."""
        at = self._note(step)
        try:
            async with asyncio.timeout(PATIENCE):
                value = await self._do(step, node)
        except (loom.StoreUnavailableError, TimeoutError):
            return False
        except loom.LoomError as error:
            self._answer(at, Outcome.FAILED)
            self._judge(step, error)
            return True
        except Exception as error:
            self.odd.append(f"{step.deed} raised {error!r}")
            return True
        if step.deed is Deed.RESULT:
            self.results.append(value)
        if step.deed in (Deed.START, Deed.RESULT) and not self._is_durable(step.deed):
            self.odd.append(f"{step.deed} was acknowledged before it was durable")
        self._answer(at, Outcome.OK, value)
        return True

    def _judge(self, step: Step, error: loom.LoomError) -> None:
        """Whether a client has to put up with that."""
        expected: tuple[type[Exception], ...] = (loom.QueryError,)
        if self.is_disturbed:
            expected += (loom.WorkflowClosedError, loom.UpdateError, loom.WorkflowExecutionError)
        if not isinstance(error, expected):
            self.odd.append(f"{step.deed} {step.request_id or ''} raised {error!r}")

    def _is_durable(self, deed: Deed) -> bool:
        """Whether the store has it at the moment at which it is told."""
        assert self.run_id is not None
        run, newest = self._network.look(self.script.workflow_id, self.run_id)
        if run is None or newest is None or deed is Deed.START:
            return run is not None
        is_of_chain = newest.first_run_id == (run.first_run_id or run.run_id)
        return not (newest if is_of_chain else run).status.is_open

    # --- what is noted ---

    def _note(self, step: Step) -> int | None:
        """As long as there is no answer, it may have had its effect."""
        asked = _ASKED.get(step.deed)
        if asked is None:
            return None
        request_id = step.request_id
        if step.deed is Deed.START and self.script.is_keyed:
            request_id = "key"
        told = Told(asked, Outcome.UNKNOWN, self.script.workflow_id, self.run_id, request_id)
        self.told.append(told)
        return len(self.told) - 1

    def _answer(self, at: int | None, outcome: Outcome, value: Any = NOTHING) -> None:
        if at is None:
            return
        told = replace(self.told[at], outcome=outcome, run_id=self.run_id)
        if told.asked in (Asked.UPDATE, Asked.RESULT):
            told = replace(told, value=value)
        self.told[at] = told

    # --- what is done ---

    async def _do(self, step: Step, node: Node) -> Any:
        script = self.script
        if step.deed is Deed.START:
            key = "key" if script.is_keyed else None
            handle = await node.app.start(
                Program,
                script.program,
                id=script.workflow_id,
                idempotency_key=key,
                delay=script.delay,
            )
            self.run_id = handle.run_id
            return None
        handle = node.app.handle(script.workflow_id, run_id=self.run_id, workflow=Program)
        return await self._deeds[step.deed](self, handle, step, node)

    async def _signal(self, handle: loom.WorkflowHandle[Any], step: Step, node: Node) -> None:
        await handle.signal(step.name, step.value, request_id=step.request_id)

    async def _update(self, handle: loom.WorkflowHandle[Any], step: Step, node: Node) -> Any:
        return await handle.update(step.name, step.value, request_id=step.request_id)

    async def _cancel(self, handle: loom.WorkflowHandle[Any], step: Step, node: Node) -> None:
        await handle.cancel(reason="enough")

    async def _terminate(self, handle: loom.WorkflowHandle[Any], step: Step, node: Node) -> None:
        await handle.terminate(reason="enough")

    async def _poison(self, handle: loom.WorkflowHandle[Any], step: Step, node: Node) -> None:
        poison = Arrival("FROM_THE_FUTURE", 1, b"{}")
        message = Message(self.script.workflow_id, new_id(), poison, self.run_id)
        await node.store.repository.send_messages([message], node.clock.now())

    async def _query(self, handle: loom.WorkflowHandle[Any], step: Step, node: Node) -> Any:
        return await handle.query(Program.seen)

    async def _result(self, handle: loom.WorkflowHandle[Any], step: Step, node: Node) -> Any:
        return await handle.result()

    _deeds: dict[Deed, Callable[..., Awaitable[Any]]] = {
        Deed.SIGNAL: _signal,
        Deed.UPDATE: _update,
        Deed.CANCEL: _cancel,
        Deed.TERMINATE: _terminate,
        Deed.POISON: _poison,
        Deed.QUERY: _query,
        Deed.RESULT: _result,
    }
