"""Asking a run: its live instance here if it stands where the store does, else a replayed one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, Protocol

from loom.access import Call
from loom.authoring.compiled import CompiledWorkflow
from loom.authoring.handlers import HandlerKind
from loom.authoring.registry import Registry
from loom.engine.instance import WorkflowInstance
from loom.engine.queries import query_handler
from loom.errors import LoomError, QueryError, WorkflowNotServedError
from loom.history.payloads import PayloadConverter
from loom.history.status import RunStatus
from loom.runner.calls import EncodedCall, encoded_call
from loom.runner.revival import new_instance, read_history
from loom.storage.records import RunRecord
from loom.storage.repository import RunRepository

PATIENCE: Final = 3.0
"""Seconds that a query waits for the first turn of a run."""

_FIRST_LOOK: Final = 0.01


class Serving(Protocol):
    """A worker of this process, as far as queries need it."""

    registry: Registry

    def live_instance(self, run: RunRecord) -> WorkflowInstance | None:
        """The run's coroutines, if they are here, between two turns, and where the record is."""


class Queries:
    """Answers queries in this process; nothing of them is written."""

    def __init__(
        self,
        repository: RunRepository,
        converter: PayloadConverter,
        workers: Iterable[Serving],
    ) -> None:
        self._repository = repository
        self._converter = converter
        self._workers = workers

    async def ask(self, run: RunRecord, call: Call, given: CompiledWorkflow | None) -> Any:
        """What the run answers.

        Args:
            given: the code, if the caller has it.

        Raises:
            WorkflowNotServedError: the run's code is not in this process.
            QueryError: it has no such query, or cannot be brought to where it stands.
            QueryFailedError: the handler raised.
            PayloadError: the arguments do not fit its parameters.
        """
        code = self._code_of(run, given)
        encoded = encoded_call(HandlerKind.QUERY, call, code, self._converter)
        handler = query_handler(code.handlers, encoded.name)
        run = await self._begun(run)
        result = self._ask_live(run, encoded)
        if result is None:
            result = await self._ask_replayed(run, code, encoded)
        declared = handler.result_type if isinstance(call.target, str) else encoded.result_type
        return self._converter.decode(result, declared, "The result of query", encoded.name)

    async def _begun(self, run: RunRecord) -> RunRecord:
        """The run once it has had a turn: one that was just started has its first any moment.

        Raises ``QueryError`` when it has not for a while.
        """
        waited, wait = 0.0, _FIRST_LOOK
        while run.sequence == 0:
            if waited >= PATIENCE:
                raise QueryError(
                    f"Workflow {run.workflow_id!r} has nothing to answer yet: no worker has taken "
                    "it."
                )
            # Whoever takes it does so in real time, whatever the clock shows.
            await asyncio.sleep(wait)
            waited, wait = waited + wait, 2 * wait
            run = await self._repository.find_run(run.workflow_id, run.run_id) or run
        return run

    def _code_of(self, run: RunRecord, given: CompiledWorkflow | None) -> CompiledWorkflow:
        if given is not None and (given.name, given.version) == (run.name, run.version):
            return given
        for worker in self._workers:
            served = worker.registry.workflow(run.name, run.version)
            if served is not None:
                return served
        raise WorkflowNotServedError(
            f"Workflow {run.workflow_id!r} can only be asked where its code is, which is "
            f"{run.name!r} in version {run.version!r}: use "
            f"app.handle({run.workflow_id!r}, workflow=...), or run a worker with it in this "
            "process."
        )

    def _ask_live(self, run: RunRecord, call: EncodedCall) -> bytes | None:
        for worker in self._workers:
            instance = worker.live_instance(run)
            if instance is not None:
                return instance.answer_query(call.name, call.payload)
        return None

    async def _ask_replayed(
        self, run: RunRecord, code: CompiledWorkflow, call: EncodedCall
    ) -> bytes:
        instance = new_instance(
            code,
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            queue=run.queue,
            converter=self._converter,
            # Whether the run may go on is for its worker to say.
            guards="off",
        )
        try:
            history = await read_history(run, self._repository)
            instance.replay_until_block(history, for_reading=True)
        except LoomError as error:
            raise _unanswerable(run, error) from error
        try:
            answer = instance.answer_query(call.name, call.payload)
            assert answer is not None, "it is for reading, so there is nothing to copy"
            return answer
        finally:
            instance.unwind()


def _unanswerable(run: RunRecord, error: LoomError) -> QueryError:
    blocked = ""
    if run.status is RunStatus.BLOCKED:
        blocked = f" The run is BLOCKED: {run.blocked_reason}"
    return QueryError(
        f"Workflow {run.workflow_id!r} cannot be asked: its code cannot be brought to where the "
        f"run stands. {error}{blocked}"
    )
