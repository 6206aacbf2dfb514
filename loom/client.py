"""The client: starting runs, talking to them and looking at them, from anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from loom.access import Call, RunAccess, SentUpdate
from loom.authoring.compiled import CompiledWorkflow
from loom.authoring.handlers import HandlerKind
from loom.authoring.names import check_id
from loom.errors import (
    HistoryError,
    PayloadError,
    WorkflowAlreadyStartedError,
    WorkflowClosedError,
    WorkflowNotFoundError,
)
from loom.history.events import (
    Event,
    SignalReceived,
    Stamped,
    UpdateCompleted,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowTerminated,
    continued_by,
    request_message_id,
)
from loom.history.export import RunHistory
from loom.history.failures import MAX_MESSAGE, storable
from loom.history.payloads import PayloadConverter
from loom.identifiers import (
    MICROS_PER_SECOND,
    RunId,
    RunKey,
    WorkerId,
    WorkflowId,
    new_id,
)
from loom.info import HistoryEvent, LogLine, WorkflowInfo
from loom.runner.calls import encoded_call
from loom.runner.checking import check_runs, histories_of
from loom.runner.clock import Clock
from loom.runner.closings import Closings
from loom.runner.imports import check_imported, imported_run
from loom.runner.queries import Queries, Serving
from loom.runner.relations import arrival_of
from loom.runner.replayer import Replayer, ReplayResult
from loom.runner.revival import read_records, read_what_is_readable
from loom.runner.transitions import (
    cancelled_effects,
    event_of,
    message_event,
    terminated_effects,
)
from loom.runner.updates import UpdateSender, update_error
from loom.runner.views import execution_error, exported, history_event, log_line, workflow_info
from loom.storage.notifier import CALLED_OFF, MESSAGES, activity_topic, run_topic, workflow_topic
from loom.storage.records import (
    InboxRecord,
    Leases,
    Message,
    RunFilter,
    RunLease,
    RunRecord,
    SendOutcome,
    Transition,
    WorkflowClaim,
    WorkflowTask,
    WriteOutcome,
)
from loom.storage.store import Store

_FIRST_POLL: Final = 0.02
_LONGEST_POLL: Final = 1.0
_LONGEST_POLL_WHEN_TOLD: Final = 10.0
_TERMINATE_LEASE: Final = 10 * MICROS_PER_SECOND


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
        self._closings = closings
        self._clock = clock
        self._is_worked_on_here = is_worked_on_here
        self._queries = Queries(store.repository, converter, workers)
        self._updates = UpdateSender(store, clock)

    # --- looking ---

    async def info(self, workflow_id: WorkflowId, run_id: RunId | None) -> WorkflowInfo:
        run = await self._find(workflow_id, run_id)
        tasks = await self._repository.list_tasks(run.run_key) if run.status.is_open else ()
        [labels] = await self._repository.read_labels([run.run_key])
        now, converter = self._clock.now(), self._converter
        return workflow_info(run, tasks, labels, now=now, converter=converter)

    async def list_runs(self, where: RunFilter) -> list[WorkflowInfo]:
        runs = await self._repository.list_runs(where)
        labels = await self._repository.read_labels([run.run_key for run in runs])
        now, converter = self._clock.now(), self._converter
        return [
            workflow_info(run, (), its_own, now=now, converter=converter)
            for run, its_own in zip(runs, labels, strict=True)
        ]

    async def count_runs(self, where: RunFilter) -> int:
        return await self._repository.count_runs(where)

    async def run_key(self, workflow_id: WorkflowId, run_id: RunId) -> RunKey:
        return (await self._find(workflow_id, run_id)).run_key

    async def history(self, workflow_id: WorkflowId, run_id: RunId | None) -> list[HistoryEvent]:
        run = await self._find(workflow_id, run_id)
        events: list[HistoryEvent] = []
        after = 0
        while page := await self._repository.read_history(run.run_key, after=after):
            # Not how many there are: of a damaged history some may be missing.
            after = page[-1].sequence
            events.extend(history_event(record, self._converter) for record in page)
        return events

    async def export(self, workflow_id: WorkflowId, run_id: RunId | None) -> RunHistory:
        run = await self._find(workflow_id, run_id)
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
        run = await self._find(workflow_id, run_id)
        lines: list[LogLine] = []
        after = 0
        while page := await self._repository.read_logs(run.run_key, after=after):
            after = page[-1].position
            lines.extend(map(log_line, page))
        return lines

    async def _find(self, workflow_id: WorkflowId, run_id: RunId | None) -> RunRecord:
        run = await self._repository.find_run(workflow_id, run_id)
        if run is None or run.workflow_id != workflow_id:
            raise WorkflowNotFoundError(_not_found(workflow_id, run_id))
        return run

    # --- waiting ---

    async def result(
        self, workflow_id: WorkflowId, run_id: RunId | None, declared: Any, timeout: float | None
    ) -> Any:
        async with self._clock.timeout(timeout):
            run_id, final = await self._final_event(workflow_id, run_id)
            while (next_run_id := continued_by(final)) is not None:
                run_id, final = await self._final_event(workflow_id, next_run_id)
        return self._result_of(final, declared, workflow_id, run_id)

    async def _final_event(
        self, workflow_id: WorkflowId, run_id: RunId | None
    ) -> tuple[RunId, Event]:
        if run_id is None:
            run_id = (await self._find(workflow_id, None)).run_id
        with self._closings.expect(run_id) as closing, self._told_of_end(run_id) as told:
            closing.add_done_callback(lambda _: told.set())
            return run_id, await self._wait_for_end(workflow_id, run_id, closing, told)

    @contextmanager
    def _told_of_end(self, run_id: RunId) -> Iterator[asyncio.Event]:
        """An event that is set when somebody says that the run has closed."""
        told = asyncio.Event()
        unsubscribe = self._notifier.subscribe(run_topic(run_id), lambda _: told.set())
        try:
            with self._clock.watching(run_id):
                yield told
        finally:
            unsubscribe()

    async def _wait_for_end(
        self,
        workflow_id: WorkflowId,
        run_id: RunId,
        closing: asyncio.Future[Event],
        told: asyncio.Event,
    ) -> Event:
        """The final event, from this process if the run ends here, else from the store."""
        longest = _LONGEST_POLL_WHEN_TOLD if self._notifier.crosses_processes else _LONGEST_POLL
        wait = _FIRST_POLL
        while not closing.done():
            told.clear()
            if self._is_worked_on_here(run_id):
                # Its end will be announced here: no need to ask the store.
                await self._clock.wait(told, longest)
                continue
            run = await self._find(workflow_id, run_id)
            if not run.status.is_open:
                return await self._last_event(run)
            await self._clock.wait(told, wait)
            wait = min(wait * 2, longest)
        return closing.result()

    async def _last_event(self, run: RunRecord) -> Event:
        last = await self._repository.read_history(run.run_key, after=run.sequence - 1)
        if not last:
            raise WorkflowNotFoundError(_not_found(run.workflow_id, run.run_id))
        return event_of(last[-1])

    def _result_of(
        self, final: Event, declared: Any, workflow_id: WorkflowId, run_id: RunId
    ) -> Any:
        if isinstance(final, WorkflowCompleted):
            return self._converter.decode(final.payload, declared)
        raise execution_error(final, workflow_id, run_id)

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
        await self._send(workflow_id, run_id, signal, request_id)

    async def query(
        self, workflow_id: WorkflowId, run_id: RunId | None, call: Call, code: object
    ) -> Any:
        run = await self._find(workflow_id, run_id)
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
        async with self._clock.timeout(timeout):
            outcome = await self._updates.outcome(workflow_id, run_id, update_id)
        if isinstance(outcome, UpdateCompleted):
            return self._converter.decode(outcome.payload, declared)
        raise update_error(outcome, workflow_id, update_id)

    async def cancel(self, workflow_id: WorkflowId, run_id: RunId | None, reason: str) -> None:
        request = WorkflowCancelRequested(_check_reason(reason))
        await self._send(workflow_id, run_id, request, None)
        run = await self._find_last(workflow_id, run_id)
        if self._is_to_begin(run):
            # No worker takes it before, and there is no code to be asked yet.
            await self._end_unowned(run)

    def _is_to_begin(self, run: RunRecord) -> bool:
        is_early = run.start_at is not None and run.start_at > self._clock.now()
        return is_early and run.status.is_open and run.sequence == 0

    async def terminate(self, workflow_id: WorkflowId, run_id: RunId | None, reason: str) -> None:
        request = WorkflowTerminated(_check_reason(reason))
        await self._send(workflow_id, run_id, request, None)
        run = await self._find_last(workflow_id, run_id)
        wait = _FIRST_POLL
        while run.status.is_open:
            with self._told_of_end(run.run_id) as told:
                # Whoever works on the run ends it. A run that nobody works on, perhaps because
                # nobody can, is ended from here.
                if not await self._end_unowned(run):
                    await self._clock.wait(told, wait)
                    wait = min(wait * 2, _LONGEST_POLL)
            run = await self._find_last(workflow_id, run.run_id)

    async def _find_last(self, workflow_id: WorkflowId, run_id: RunId | None) -> RunRecord:
        """The run itself, or the open one that continues it, to which its messages go."""
        run = await self._find(workflow_id, run_id)
        if run.status.is_open or run_id is None:
            return run
        newest = await self._find(workflow_id, None)
        is_of_chain = newest.first_run_id == (run.first_run_id or run.run_id)
        return newest if is_of_chain else run

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

    async def _send(
        self, workflow_id: WorkflowId, run_id: RunId | None, event: Event, request_id: str | None
    ) -> None:
        message_id = new_id() if request_id is None else request_message_id(request_id)
        message = Message(workflow_id, message_id, arrival_of(event), run_id)
        (outcome,) = await self._repository.send_messages([message], self._clock.now())
        if outcome is SendOutcome.NOT_FOUND:
            raise WorkflowNotFoundError(_not_found(workflow_id, run_id))
        if outcome is SendOutcome.CLOSED:
            raise WorkflowClosedError(
                f"Workflow {workflow_id!r} has ended, so it takes no more messages."
            )
        self._notifier.publish([MESSAGES])


def _check_reason(reason: object) -> str:
    """Why somebody ends a run; it may be empty. Raises ``PayloadError`` when it is no text."""
    if not isinstance(reason, str):
        raise PayloadError(f"The reason {reason!r} is not a string.")
    return storable(reason, MAX_MESSAGE)


def _not_found(workflow_id: WorkflowId, run_id: RunId | None) -> str:
    run = f" and run id {run_id!r}" if run_id else ""
    return f"There is no run with the workflow id {workflow_id!r}{run}."


def _code(known: object) -> CompiledWorkflow | None:
    """What a handle was given as the run's code."""
    return known if isinstance(known, CompiledWorkflow) else None
