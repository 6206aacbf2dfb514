"""Clients: what they do to runs, again and again until they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import loom
from loom.history.status import RunStatus
from loom.identifiers import RunId, new_id
from loom.storage.records import Arrival, Message
from tests.proof.records import NOTHING, Asked, Outcome, Told, told_by
from tests.simulation.network import Network
from tests.simulation.nodes import Node
from tests.simulation.plan import Deed, Ending, Script, Step
from tests.simulation.programs import TRIED_AGAIN, Program

PATIENCE: Final = 40.0
"""Seconds that a client waits for one answer."""

_ASKED = {
    Deed.START: Asked.START,
    Deed.SIGNAL: Asked.SIGNAL,
    Deed.START_WITH_SIGNAL: Asked.SIGNAL,
    Deed.UPDATE: Asked.UPDATE,
    Deed.CANCEL: Asked.CANCEL,
    Deed.TERMINATE: Asked.TERMINATE,
    Deed.RESULT: Asked.RESULT,
}

_DURABLE: Final = (Deed.START, Deed.START_WITH_SIGNAL, Deed.RESULT)
_DISTURBING: Final = frozenset({Deed.CANCEL, Deed.TERMINATE, Deed.POISON})


def _excused(script: Script) -> tuple[type[Exception], ...]:
    """What the clients of a run have to put up with."""
    excused: tuple[type[Exception], ...] = (loom.QueryError,)
    if script.deeds & _DISTURBING:
        excused += (loom.WorkflowClosedError, loom.UpdateError, loom.WorkflowExecutionError)
    if Ending.TIMEOUT in script.endings:
        excused += (loom.WorkflowClosedError, loom.UpdateError, loom.WorkflowTimedOutError)
    if Ending.FAILURE in script.endings:
        excused += (loom.WorkflowFailedError,)
    return excused


class Player:
    """Plays one script, in whichever process lives to do so."""

    def __init__(self, script: Script, network: Network) -> None:
        self.script = script
        self.node = script.node
        self.told: list[Told] = []
        self.odd: list[str] = []
        """Errors that no client should see."""
        self.run_id: RunId | None = None
        self.starts: list[RunId] = []
        """The runs that it was told of, by its steps that start one."""
        self.results: list[Any] = []
        self._network = network
        self._excused = _excused(script)
        self._next = 0

    @property
    def is_over(self) -> bool:
        return self._next >= len(self.script.steps)

    async def play(self, node: Node) -> None:
        """Go on from where the last process has died."""
        while not self.is_over:
            step = self.script.steps[self._next]
            await asyncio.sleep(step.after)
            for _ in range(step.times):
                await self._insist(step, node)
            if step.deed is Deed.START and step.to_start is None and self.run_id is not None:
                self.starts.append(self.run_id)
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
            self._answer(at, step, Outcome.FAILED, status=told_by(error))
            self._judge(step, error)
            return True
        except Exception as error:
            self.odd.append(f"{step.deed} raised {error!r}")
            return True
        if step.deed is Deed.RESULT:
            self.results.append(value)
        if step.is_refused:
            self.odd.append(f"{step.deed} {step.request_id} was accepted")
        if step.deed in _DURABLE and not self._is_durable(step):
            self.odd.append(f"{step.deed} was acknowledged before it was durable")
        self._answer(at, step, Outcome.OK, value)
        return True

    def _target(self, step: Step) -> RunId | None:
        """The run that a step is for."""
        return self.run_id if step.to_start is None else self.starts[step.to_start]

    def _judge(self, step: Step, error: loom.LoomError) -> None:
        """Whether a client has to put up with that."""
        excused = self._excused
        if step.to_start is not None:
            # It was said to a run that has ended long ago.
            excused += (loom.WorkflowClosedError,)
        if step.is_refused:
            excused += (loom.UpdateRejectedError,)
        if self._is_collected(step):
            excused += (loom.WorkflowClosedError, loom.WorkflowNotFoundError)
        if not isinstance(error, excused):
            self.odd.append(f"{step.deed} {step.request_id or ''} raised {error!r}")

    def _is_collected(self, step: Step) -> bool:
        """Whether its run, or one of the same chain, was deleted."""
        target = self._target(step)
        return any(target in (run.key, run.chain) for run in self._network.collected)

    def _is_durable(self, step: Step) -> bool:
        """Whether the store has it at the moment at which it is told."""
        target = self._target(step)
        assert target is not None
        if self._is_collected(step):
            return True
        run, newest = self._network.look(self.script.workflow_id, target)
        if run is None or newest is None or step.deed is not Deed.RESULT:
            return run is not None
        is_of_chain = newest.first_run_id == (run.first_run_id or run.run_id)
        return not (newest if is_of_chain else run).status.is_open

    # --- what is noted ---

    def _note(self, step: Step) -> int | None:
        """As long as there is no answer, it may have had its effect."""
        asked = _ASKED.get(step.deed)
        if asked is None:
            return None
        # Which run such a signal comes to is for the store to say.
        is_for_any = step.deed is Deed.START_WITH_SIGNAL
        target = None if is_for_any else self._target(step)
        request_id = self._key(step) if step.deed is Deed.START else step.request_id
        told = Told(
            asked,
            Outcome.UNKNOWN,
            self.script.workflow_id,
            target,
            request_id,
            asked_at=self._network.loop.micros,
        )
        self.told.append(told)
        return len(self.told) - 1

    def _key(self, step: Step) -> str | None:
        """By which a start is known when it is repeated."""
        return step.request_id or ("key" if self.script.is_keyed else None)

    def _answer(
        self,
        at: int | None,
        step: Step,
        outcome: Outcome,
        value: Any = NOTHING,
        status: RunStatus | None = None,
    ) -> None:
        if at is None:
            return
        told = replace(
            self.told[at],
            outcome=outcome,
            run_id=self._target(step),
            status=status,
            answered_at=self._network.loop.micros,
        )
        if told.asked in (Asked.UPDATE, Asked.RESULT):
            told = replace(told, value=value)
        self.told[at] = told

    # --- what is done ---

    async def _do(self, step: Step, node: Node) -> Any:
        if step.deed is Deed.START:
            self._hear_of(await self._start(step, node), step)
            return None
        if step.deed is Deed.START_WITH_SIGNAL:
            handle = await self._start_with_signal(step, node)
            self._hear_of(handle, step)
            self._count(handle)
            return None
        handle = node.app.handle(
            self.script.workflow_id, run_id=self._target(step), workflow=Program
        )
        return await self._deeds[step.deed](self, handle, step, node)

    async def _start(self, step: Step, node: Node) -> loom.WorkflowHandle[Any]:
        script = self.script
        retry = None if not script.tries else replace(TRIED_AGAIN, maximum_attempts=script.tries)
        return await node.app.start(
            Program,
            script.program,
            id=script.workflow_id,
            idempotency_key=self._key(step),
            delay=script.delay,
            run_timeout=script.run_timeout,
            execution_timeout=script.execution_timeout,
            retry=retry,
        )

    async def _start_with_signal(self, step: Step, node: Node) -> loom.WorkflowHandle[Any]:
        script = self.script
        return await node.app.start_with_signal(
            Program,
            script.program,
            step.name,
            step.value,
            request_id=step.request_id,
            id=script.workflow_id,
        )

    def _count(self, handle: loom.WorkflowHandle[Any]) -> None:
        assert handle.run_id is not None
        run, _ = self._network.look(handle.workflow_id, handle.run_id)
        is_open = run is not None and run.status.is_open
        found = "a new run" if handle.is_new else "an open run" if is_open else "an ended run"
        self._network.counts[f"start with signal, {found}"] += 1

    def _hear_of(self, handle: loom.WorkflowHandle[Any], step: Step) -> None:
        """Which run it is."""
        wanted = self._target(step)
        is_same = step.to_start is not None or (self.script.is_one_run and wanted is not None)
        if is_same and handle.run_id != wanted and not self._is_collected(step):
            self.odd.append(f"{step.deed} {step.request_id} was told of another run than before")
        if step.to_start is None:
            self.run_id = handle.run_id

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

    async def _retry(self, handle: loom.WorkflowHandle[Any], step: Step, node: Node) -> None:
        await handle.retry()
        self._network.retried[self.script.workflow_id] = self._network.loop.micros

    async def _result(self, handle: loom.WorkflowHandle[Any], step: Step, node: Node) -> Any:
        return await handle.result()

    _deeds: dict[Deed, Callable[..., Awaitable[Any]]] = {
        Deed.SIGNAL: _signal,
        Deed.UPDATE: _update,
        Deed.CANCEL: _cancel,
        Deed.TERMINATE: _terminate,
        Deed.POISON: _poison,
        Deed.QUERY: _query,
        Deed.RETRY: _retry,
        Deed.RESULT: _result,
    }
