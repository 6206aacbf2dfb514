"""The reference store: what the port means, in the plainest code, and nothing kept on disk.

The conformance suite compares other stores with this one. It finds everything by looking through
everything, so it is for tests and for trying things out.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice

from loom.errors import ConfigurationError
from loom.identifiers import MessageId, Micros, RunId, RunKey, WorkerId, WorkflowId
from loom.storage.memory_runs import StoredRuns
from loom.storage.memory_state import (
    StoredRun,
    StoredTask,
    as_activity_task,
    born,
    due_for,
    earliest,
    is_claimable,
    is_meant,
    matches,
    refuse_malformed_starts,
)
from loom.storage.notifier import InProcessNotifier
from loom.storage.records import (
    ActivityClaim,
    ActivityCompletion,
    ActivityTasks,
    Answer,
    Effects,
    EventRecord,
    Heartbeat,
    InboxRecord,
    Labels,
    Leases,
    LogRecord,
    Message,
    NewRun,
    PendingTask,
    RunFilter,
    RunLease,
    RunRecord,
    SendOutcome,
    StartOutcome,
    TaskLease,
    Transition,
    WorkflowClaim,
    WorkflowTask,
    WorkflowTasks,
    WriteOutcome,
)
from loom.storage.repository import LeaseRepository, Repository
from loom.storage.store import Store


class MemoryRepository(Repository):
    """Keeps everything in this object. Any thread may call it, from any event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = StoredRuns()
        self._last_key: RunKey = 0

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        # As with a real database, every call lets others run first: a loop over calls that never
        # waited would starve them.
        await asyncio.sleep(0)
        with self._lock:
            yield

    # --- turns of runs ---------------------------------------------------------------------------

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        async with self._transaction():
            meant = [run for run in self._runs.values() if is_meant(run, claim)]
            meant.sort(key=lambda run: run.due_at or 0)
            claimable = [run for run in meant if is_claimable(run, claim)]
            suspects = [run for run in claimable if run.record.lost_owners]
            suspects.sort(key=lambda run: run.record.run_key)
            others = [run for run in claimable if run not in suspects]
            claimed = [*others[: claim.limit], *suspects[:1]]
            left = [run for run in meant if run not in claimed]
            tasks = [self._lease(run, claim) for run in claimed]
            return WorkflowTasks(tasks, earliest(due_for(run, claim) for run in left))

    def _lease(self, run: StoredRun, claim: WorkflowClaim) -> WorkflowTask:
        owner_lost = run.is_taken_over_by(claim.owner)
        run.lease(claim.owner, claim.lease_expires_at)
        return WorkflowTask(run.shown, run.token, tuple(run.inbox), owner_lost)

    async def write_transitions(self, transitions: Sequence[Transition]) -> Sequence[WriteOutcome]:
        async with self._transaction():
            return [self._write(transition) for transition in transitions]

    def _write(self, transition: Transition) -> WriteOutcome:
        run = self._runs.get(transition.run_key)
        if run is None or not self._fence_holds(run, transition):
            return WriteOutcome.LOST
        run.refuse_malformed(transition.effects)
        refuse_malformed_starts(run.record.run_id, transition.effects)
        run.consume(through=transition.consumed_through or 0)
        run.apply(transition.effects, transition.owner or run.record.lease_owner or "")
        self._reach_out(transition.effects, transition.effects.messages)
        return WriteOutcome.WRITTEN

    def _reach_out(self, effects: Effects, messages: Sequence[Message]) -> None:
        """What a turn does to other runs."""
        # Who continues a run comes before strangers who want its id.
        for new in sorted(effects.starts, key=lambda new: new.continues is None):
            self._start(new)
        self._send_all(messages, effects.recorded_at)

    def _fence_holds(self, run: StoredRun, transition: Transition) -> bool:
        fence = (transition.token, transition.expected_sequence)
        return run.is_open and (run.token, run.record.sequence) == fence

    # --- attempts of activities ------------------------------------------------------------------

    async def claim_activity_tasks(self, claim: ActivityClaim) -> ActivityTasks:
        async with self._transaction():
            meant = [
                (run, task)
                for run in self._runs.values()
                for task in run.tasks.values()
                if task.new.queue == claim.queue and task.new.name in claim.names
                if task.may_start(claim.now)
            ]
            meant.sort(key=lambda pair: pair[1].due_at)
            claimed = [pair for pair in meant if pair[1].due_at <= claim.now][: claim.limit]
            next_due_at = earliest(task.due_at for _, task in meant[len(claimed) :])
            for _, task in claimed:
                task.lease(claim.owner, claim.lease_expires_at)
            told = [as_activity_task(run, task) for run, task in claimed]
            return ActivityTasks(told, next_due_at)

    async def complete_activity_tasks(
        self, completions: Sequence[ActivityCompletion]
    ) -> Sequence[WriteOutcome]:
        async with self._transaction():
            return [self._complete(completion) for completion in completions]

    def _complete(self, completion: ActivityCompletion) -> WriteOutcome:
        run = self._runs.get(completion.run_key)
        task = run.tasks.get(completion.activity_id) if run is not None else None
        if run is None or task is None or not task.is_under_way(completion.token):
            return WriteOutcome.LOST
        if completion.arrival is not None:
            del run.tasks[completion.activity_id]
            run.receive(f"activity:{completion.activity_id}", completion.arrival, completion.now)
        else:
            task.end(completion)
        return WriteOutcome.WRITTEN

    async def record_heartbeats(self, heartbeats: Sequence[Heartbeat]) -> Sequence[WriteOutcome]:
        async with self._transaction():
            return [self._record_heartbeat(heartbeat) for heartbeat in heartbeats]

    def _record_heartbeat(self, heartbeat: Heartbeat) -> WriteOutcome:
        run = self._runs.get(heartbeat.run_key)
        task = run.tasks.get(heartbeat.activity_id) if run is not None else None
        if task is None or not task.is_under_way(heartbeat.token):
            return WriteOutcome.LOST
        task.hear(heartbeat)
        return WriteOutcome.WRITTEN

    # --- leases ----------------------------------------------------------------------------------

    async def current_time(self) -> Micros:
        return time.time_ns() // 1_000

    async def extend_leases(self, leases: Leases, owner: WorkerId, expires_at: Micros) -> Leases:
        async with self._transaction():
            lost_runs: list[RunLease] = []
            lost_tasks: list[TaskLease] = []
            for lease in leases.runs:
                run = self._held_run(lease)
                if run is not None and run.record.lease_owner == owner:
                    run.extend(owner, expires_at)
                else:
                    lost_runs.append(lease)
            for task_lease in leases.tasks:
                task = self._held_task(task_lease)
                if task is not None and task.lease_owner == owner:
                    task.lease_expires_at = expires_at
                else:
                    lost_tasks.append(task_lease)
            return Leases(lost_runs, lost_tasks)

    async def release_leases(self, leases: Leases, now: Micros) -> None:
        async with self._transaction():
            for lease in leases.runs:
                if run := self._held_run(lease):
                    run.give_back(now)
            for task_lease in leases.tasks:
                if task := self._held_task(task_lease):
                    task.give_back(now)

    def _held_run(self, lease: RunLease) -> StoredRun | None:
        run = self._runs.get(lease.run_key)
        held = run is not None and run.record.lease_owner is not None and run.token == lease.token
        return run if held else None

    def _held_task(self, lease: TaskLease) -> StoredTask | None:
        run = self._runs.get(lease.run_key)
        task = run.tasks.get(lease.activity_id) if run is not None else None
        held = task is not None and task.lease_owner is not None and task.token == lease.token
        return task if held else None

    # --- runs, as their starters and observers see them ------------------------------------------

    def _find(self, workflow_id: WorkflowId, run_id: RunId | None) -> StoredRun | None:
        """That very run, or the newest of the workflow id: the only one that may be open."""
        runs = self._runs.of_workflow(workflow_id)
        return next((r for r in reversed(runs) if run_id in (None, r.record.run_id)), None)

    async def start_runs(self, runs: Sequence[NewRun]) -> Sequence[StartOutcome]:
        async with self._transaction():
            return [self._start(new) for new in runs]

    def _start(self, new: NewRun) -> StartOutcome:
        if same := self._runs.of_id(new.run_id):
            return StartOutcome(same.shown, created=True, repeated=True)
        newest = self._find(new.workflow_id, None)
        if newest is not None and newest.is_open:
            self._send_all(new.on_conflict, new.effects.recorded_at)
            return StartOutcome(newest.shown, created=False)
        if newest is not None and self._has_heard(newest, new.unless_heard):
            return StartOutcome(newest.shown, created=False, repeated=True)
        if newest is not None and newest.record.status in new.refused_after:
            return StartOutcome(newest.shown, created=False)
        run = born(new, self._last_key + 1)
        run.refuse_malformed(new.effects)
        refuse_malformed_starts(new.run_id, new.effects)
        run.apply(new.effects, new.owner or "")
        # Keys are never used again, or the owner of a deleted run could write to another one.
        self._last_key += 1
        self._runs[self._last_key] = run
        self._fill_inbox(run, new)
        others = [message for message in new.effects.messages if message not in new.own_messages]
        self._reach_out(new.effects, others)
        return StartOutcome(run.shown, created=True)

    def _has_heard(self, run: StoredRun, message_id: MessageId | None) -> bool:
        if message_id is None:
            return False
        return any(one.has_taken(message_id) for one in self._chain_of(run))

    def _fill_inbox(self, run: StoredRun, new: NewRun) -> None:
        """What a run is born with: its own messages, and those that its predecessor has left."""
        predecessor = self._find(new.workflow_id, new.continues) if new.continues else None
        if predecessor is not None:
            run.follow(predecessor)
        if run.is_open:
            for message in new.own_messages:
                run.receive(message.message_id, message.arrival, new.effects.recorded_at)
            own = {message.message_id for message in new.own_messages}
            for left in predecessor.left if predecessor else ():
                if left.may_move and left.message_id not in own:
                    run.receive(left.message_id, left.arrival, new.effects.recorded_at)

    async def send_messages(
        self, messages: Sequence[Message], now: Micros
    ) -> Sequence[SendOutcome]:
        async with self._transaction():
            return self._send_all(messages, now)

    def _send_all(self, messages: Sequence[Message], now: Micros) -> Sequence[SendOutcome]:
        return [self._send(message, now) for message in messages]

    def _send(self, message: Message, now: Micros) -> SendOutcome:
        run = self._find_recipient(message)
        if run is None:
            return SendOutcome.NOT_FOUND
        if any(one.has_taken(message.message_id) for one in self._chain_of(run)):
            return SendOutcome.ACCEPTED
        if not run.is_open:
            return SendOutcome.CLOSED
        run.receive(message.message_id, message.arrival, now, urgent=message.urgent)
        return SendOutcome.ACCEPTED

    def _find_recipient(self, message: Message) -> StoredRun | None:
        """The run that a message is for, or the open one that has continued it. In place of one
        that is gone, and began a chain, the newest of that."""
        run = self._find(message.workflow_id, message.run_id)
        if run is None:
            runs = reversed(self._runs.of_workflow(message.workflow_id))
            return next((one for one in runs if one.first_run_id == message.run_id), None)
        newest = self._find(message.workflow_id, None)
        if newest is None or not newest.is_open:
            return run
        return newest if newest.first_run_id == run.first_run_id else run

    def _chain_of(self, run: StoredRun) -> Sequence[StoredRun]:
        """A run with those that it continues, and those that continue it."""
        of_workflow = self._runs.of_workflow(run.record.workflow_id)
        return [one for one in of_workflow if one.first_run_id == run.first_run_id]

    async def find_answer(self, chain: RunId, message_id: MessageId) -> Answer | None:
        async with self._transaction():
            runs = (run for run in self._runs.values() if run.first_run_id == chain)
            return next((r.answers[message_id] for r in runs if message_id in r.answers), None)

    async def find_run(
        self, workflow_id: WorkflowId, run_id: RunId | None = None
    ) -> RunRecord | None:
        async with self._transaction():
            run = self._find(workflow_id, run_id)
            return None if run is None else run.shown

    async def list_runs(self, where: RunFilter) -> Sequence[RunRecord]:
        async with self._transaction():
            runs = reversed(self._runs.values())
            shown = (run.shown for run in runs if matches(run, where))
            left = (r for r in shown if where.before is None or r.run_key < where.before)
            return list(islice(left, where.limit))

    async def count_runs(self, where: RunFilter) -> int:
        async with self._transaction():
            return sum(matches(run, where) for run in self._runs.values())

    async def read_labels(self, run_keys: Sequence[RunKey]) -> Sequence[Labels]:
        async with self._transaction():
            runs = [self._runs.get(key) for key in run_keys]
            return [Labels() if run is None else run.labels for run in runs]

    async def list_tasks(self, run_key: RunKey) -> Sequence[PendingTask]:
        async with self._transaction():
            run = self._runs.get(run_key)
            tasks = sorted(run.tasks.items()) if run is not None else ()
            return [task.as_pending() for _, task in tasks]

    async def list_messages(self, run_key: RunKey) -> Sequence[InboxRecord]:
        async with self._transaction():
            run = self._runs.get(run_key)
            return [] if run is None else list(run.inbox)

    async def delete_runs(self, run_keys: Sequence[RunKey]) -> int:
        async with self._transaction():
            runs = [self._runs.get(key) for key in set(run_keys)]
            closed = [run for run in runs if run is not None and not run.is_open]
            for run in closed:
                del self._runs[run.record.run_key]
            return len(closed)

    async def read_history(
        self, run_key: RunKey, *, after: int = 0, limit: int = 1000
    ) -> Sequence[EventRecord]:
        async with self._transaction():
            run = self._runs.get(run_key)
            return [] if run is None else run.events[after : after + limit]

    async def read_logs(
        self, run_key: RunKey, *, after: int = 0, limit: int = 1000
    ) -> Sequence[LogRecord]:
        async with self._transaction():
            run = self._runs.get(run_key)
            lines = [] if run is None else run.logs
            return [line for line in lines if line.position > after][:limit]


class MemoryStore(Store):
    """A repository in memory, and a notifier that reaches those who share it."""

    def __init__(self) -> None:
        self.repository: MemoryRepository = MemoryRepository()
        self.notifier: InProcessNotifier = InProcessNotifier()

    @asynccontextmanager
    async def lease_repository(self) -> AsyncIterator[LeaseRepository]:
        yield self.repository

    async def close(self) -> None:
        """Nothing to give back: a shared store lives on for the others."""


_SCHEME = "memory://"
_shared: dict[str, MemoryStore] = {}


async def open_store(dsn: str) -> Store:
    """``memory://`` opens a new private store; ``memory://NAME`` the one of that name, which
    everybody in this process shares for as long as the process lives."""
    if not dsn.startswith(_SCHEME):
        raise ConfigurationError(f"not a memory DSN, which looks like memory:// or {_SCHEME}NAME")
    name = dsn.removeprefix(_SCHEME)
    return _shared.setdefault(name, MemoryStore()) if name else MemoryStore()
