"""The client: starting runs, talking to them and looking at them, from anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from loom.access import Call, RunAccess, SentUpdate
from loom.authoring.compiled import CompiledWorkflow
from loom.authoring.handlers import HandlerKind
from loom.errors import WorkflowAlreadyStartedError
from loom.given import check_id
from loom.history.events import SignalReceived, UpdateCompleted
from loom.history.export import RunHistory
from loom.history.payloads import PayloadConverter
from loom.identifiers import RunId, RunKey, WorkflowId, new_id
from loom.info import HistoryEvent, LogLine, WorkflowInfo
from loom.runner.calls import encoded_call
from loom.runner.checking import check_runs, histories_of
from loom.runner.clock import Clock
from loom.runner.closings import Closings
from loom.runner.endings import Endings
from loom.runner.imports import check_imported, imported_run
from loom.runner.lookup import found_in_chain, found_run, named
from loom.runner.messages import MessageSender
from loom.runner.queries import Queries, Serving
from loom.runner.replayer import Replayer, ReplayResult
from loom.runner.results import Results, told_of_timeout
from loom.runner.retrying import Retries
from loom.runner.revival import read_records
from loom.runner.updates import UpdateSender, update_error
from loom.runner.views import exported, history_event, log_line, workflow_info
from loom.storage.notifier import activity_topic, workflow_topic
from loom.storage.records import RunFilter, RunRecord
from loom.storage.store import Store


class Client(RunAccess):
    """What handles and the application do to runs."""

    def __init__(
        self,
        *,
        store: Store,
        converter: PayloadConverter,
        closings: Closings,
        clock: Clock,
        is_worked_on_here: Callable[[RunId], bool],
        workers: Iterable[Serving] = (),
    ) -> None:
        self._repository = store.repository
        self._notifier = store.notifier
        self._converter = converter
        self._clock = clock
        self._queries = Queries(store.repository, converter, workers)
        self._updates = UpdateSender(store, clock)
        self._messages = MessageSender(store, clock)
        self._results = Results(store, converter, closings, clock, is_worked_on_here)
        self._endings = Endings(store, closings, clock, self._messages)
        self._retries = Retries(store, clock)

    # --- looking ---

    async def info(self, workflow_id: WorkflowId, run_id: RunId | None) -> WorkflowInfo:
        run = await found_run(self._repository, workflow_id, run_id)
        key, is_open = run.run_key, run.status.is_open
        tasks = await self._repository.list_tasks(key) if is_open else ()
        messages = await self._repository.list_messages(key) if is_open else ()
        [labels] = await self._repository.read_labels([key])
        now, converter = self._clock.now(), self._converter
        return workflow_info(run, tasks, messages, labels, now=now, converter=converter)

    async def list_runs(self, where: RunFilter) -> list[WorkflowInfo]:
        runs = await self._repository.list_runs(where)
        labels = await self._repository.read_labels([run.run_key for run in runs])
        now, converter = self._clock.now(), self._converter
        return [
            workflow_info(run, (), (), its_own, now=now, converter=converter)
            for run, its_own in zip(runs, labels, strict=True)
        ]

    async def count_runs(self, where: RunFilter) -> int:
        return await self._repository.count_runs(where)

    async def run_key(self, workflow_id: WorkflowId, run_id: RunId) -> RunKey:
        return (await found_run(self._repository, workflow_id, run_id)).run_key

    async def history(self, workflow_id: WorkflowId, run_id: RunId | None) -> list[HistoryEvent]:
        run = await found_run(self._repository, workflow_id, run_id)
        events: list[HistoryEvent] = []
        after = 0
        while page := await self._repository.read_history(run.run_key, after=after):
            # Not how many there are: of a damaged history some may be missing.
            after = page[-1].sequence
            events.extend(history_event(record, self._converter) for record in page)
        return events

    async def export(self, workflow_id: WorkflowId, run_id: RunId | None) -> RunHistory:
        run = await found_run(self._repository, workflow_id, run_id)
        return exported(run, await read_records(run, self._repository))

    def histories(self, where: RunFilter) -> AsyncIterator[RunHistory]:
        return histories_of(self._repository, where)

    def check(
        self, replayer: Replayer, *, name: str | None, queue: str | None, sample: int
    ) -> AsyncIterator[ReplayResult]:
        return check_runs(self._repository, replayer, name=name, queue=queue, sample=sample)

    async def import_history(
        self, history: RunHistory, workflow_id: WorkflowId, *, stays_open: bool
    ) -> RunRecord:
        """Put a run from elsewhere into this store, in one commit."""
        if await self._repository.find_run(workflow_id, history.run_id) is not None:
            raise WorkflowAlreadyStartedError(
                f"Run {history.run_id} of workflow {workflow_id!r} is in this database already."
            )
        new = imported_run(history, workflow_id, now=self._clock.now(), stays_open=stays_open)
        (outcome,) = await self._repository.start_runs([new])
        check_imported(outcome, new)
        topics = {activity_topic(task.queue) for task in new.effects.tasks}
        self._notifier.publish([workflow_topic(new.queue), *topics])
        return outcome.run

    async def logs(self, workflow_id: WorkflowId, run_id: RunId | None) -> list[LogLine]:
        run = await found_run(self._repository, workflow_id, run_id)
        lines: list[LogLine] = []
        after = 0
        while page := await self._repository.read_logs(run.run_key, after=after):
            after = page[-1].position
            lines.extend(map(log_line, page))
        return lines

    # --- waiting and ending ---

    async def result(
        self, workflow_id: WorkflowId, run_id: RunId | None, declared: Any, timeout: float | None
    ) -> Any:
        return await self._results.wait(workflow_id, run_id, declared, timeout)

    async def cancel(self, workflow_id: WorkflowId, run_id: RunId | None, reason: str) -> None:
        await self._endings.cancel(workflow_id, run_id, reason)

    async def terminate(self, workflow_id: WorkflowId, run_id: RunId | None, reason: str) -> None:
        await self._endings.terminate(workflow_id, run_id, reason)

    async def retry(self, workflow_id: WorkflowId, run_id: RunId | None) -> None:
        await self._retries.retry(workflow_id, run_id)

    # --- talking ---

    async def signal(
        self,
        workflow_id: WorkflowId,
        run_id: RunId | None,
        call: Call,
        code: object,
        request_id: str | None,
    ) -> None:
        encoded = encoded_call(HandlerKind.SIGNAL, call, _code(code), self._converter)
        if request_id is not None:
            check_id("request id", request_id)
        signal = SignalReceived(encoded.name, encoded.payload)
        await self._messages.send(workflow_id, run_id, signal, request_id)

    async def query(
        self, workflow_id: WorkflowId, run_id: RunId | None, call: Call, code: object
    ) -> Any:
        run = await found_in_chain(self._repository, workflow_id, run_id)
        return await self._queries.ask(run, call, _code(code))

    async def start_update(
        self,
        workflow_id: WorkflowId,
        run_id: RunId | None,
        call: Call,
        code: object,
        update_id: str | None,
    ) -> SentUpdate:
        encoded = encoded_call(HandlerKind.UPDATE, call, _code(code), self._converter)
        update_id = new_id() if update_id is None else check_id("request id", update_id)
        run = await self._updates.send(workflow_id, run_id, update_id, encoded)
        return SentUpdate(run.run_id, update_id, encoded.result_type)

    async def update_result(
        self,
        workflow_id: WorkflowId,
        run_id: RunId | None,
        update_id: str,
        declared: Any,
        timeout: float | None,
    ) -> Any:
        what = f"The update {update_id!r} of {named(workflow_id, run_id)} has no result"
        with told_of_timeout(what, timeout):
            async with self._clock.timeout(timeout):
                outcome = await self._updates.outcome(workflow_id, run_id, update_id)
        if isinstance(outcome, UpdateCompleted):
            return self._converter.decode(outcome.payload, declared)
        raise update_error(outcome, workflow_id, update_id)


def _code(known: object) -> CompiledWorkflow | None:
    """What a handle was given as the run's code."""
    return known if isinstance(known, CompiledWorkflow) else None
