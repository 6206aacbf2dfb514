"""The port, spoken in SQL: each method is one transaction run on a ``Database``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from loom.errors import StoreUnavailableError
from loom.identifiers import MessageId, Micros, RunId, RunKey, WorkerId, WorkflowId
from loom.storage.records import (
    ActivityClaim,
    ActivityCompletion,
    ActivityTasks,
    Answer,
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
    RunRecord,
    SendOutcome,
    StartOutcome,
    Transition,
    WorkflowClaim,
    WorkflowTasks,
    WriteOutcome,
)
from loom.storage.repository import Repository
from loom.storage.sql import (
    claims,
    lists,
    plain_completions,
    plain_messages,
    plain_starts,
    starts,
    turns,
    writes,
)
from loom.storage.sql import leases as lease_keeping
from loom.storage.sql import runs as run_keeping
from loom.storage.sql.changes import TaskKey
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Database, Overtaken, Transaction

_PATIENCE: Final = 20


class SqlRepository(Repository):
    """A repository in a SQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = database.statements
        self.works_elsewhere = database.works_elsewhere

    # --- turns of runs ---------------------------------------------------------------------------

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        if claim.limit < 1:
            return WorkflowTasks(())
        if claim.run_key is not None:
            one = claims.claim_one_run(self._statements, claim)
            return WorkflowTasks(await self._database.write(one))
        if not claim.definitions:
            return WorkflowTasks(())
        if self._statements.claims_at_once is not None:
            return await claims.claim_at_once(self._database, claim)
        outlook = await self._database.read(claims.look_for_runs(self._statements, claim))
        if not outlook.has_due:
            return WorkflowTasks((), outlook.next_due_at(0, claim.limit))
        # Whoever claims a run has done nothing yet, and its first turn is a commit of its own.
        seen = replace(claim, suspects=outlook.is_suspect_due)
        tasks = await self._database.write_for_now(claims.claim_runs(self._statements, seen))
        return WorkflowTasks(tasks, outlook.next_due_at(len(tasks), claim.limit))

    async def write_transitions(self, transitions: Sequence[Transition]) -> Sequence[WriteOutcome]:
        if not transitions:
            return ()
        if not turns.are_plain(transitions):
            return await self._write(lambda s: writes.write_transitions(s, transitions))
        written = await turns.write_plain_turns(self._database, transitions)
        left = [turn for turn in transitions if turn.run_key not in written]
        if not left:
            return [WriteOutcome.WRITTEN] * len(transitions)
        # Mostly lost, which the other way tells for sure.
        others = await self._write(lambda s: writes.write_transitions(s, left))
        known = (turn.run_key in written for turn in transitions)
        return _merged(known, WriteOutcome.WRITTEN, others)

    # --- attempts of activities ------------------------------------------------------------------

    async def claim_activity_tasks(self, claim: ActivityClaim) -> ActivityTasks:
        if claim.limit < 1 or not claim.names:
            return ActivityTasks(())
        if self._statements.task_claims_at_once is not None:
            return await claims.claim_tasks_at_once(self._database, claim)
        outlook = await self._database.read(claims.look_for_tasks(self._statements, claim))
        if not outlook.has_due:
            return ActivityTasks((), outlook.next_due_at(0, claim.limit))
        tasks = await self._database.write(claims.claim_tasks(self._statements, claim))
        return ActivityTasks(tasks, outlook.next_due_at(len(tasks), claim.limit))

    async def complete_activity_tasks(
        self, completions: Sequence[ActivityCompletion]
    ) -> Sequence[WriteOutcome]:
        if not completions:
            return ()
        written: Collection[TaskKey] = ()
        if plain_completions.are_plain(completions):
            written = await plain_completions.complete_plainly(self._database, completions)
        left = [done for done in completions if (done.run_key, done.activity_id) not in written]
        others: Sequence[WriteOutcome] = ()
        if left:
            transaction = writes.complete_activity_tasks(self._statements, left)
            others = await self._database.write(transaction)
        known = ((done.run_key, done.activity_id) in written for done in completions)
        return _merged(known, WriteOutcome.WRITTEN, others)

    async def record_heartbeats(self, heartbeats: Sequence[Heartbeat]) -> Sequence[WriteOutcome]:
        if not heartbeats:
            return ()
        return await self._database.write(writes.record_heartbeats(self._statements, heartbeats))

    # --- leases ----------------------------------------------------------------------------------

    async def current_time(self) -> Micros:
        return await self._database.current_time()

    async def extend_leases(self, leases: Leases, owner: WorkerId, expires_at: Micros) -> Leases:
        if not leases:
            return leases
        transaction = lease_keeping.extend_leases(self._statements, leases, owner, expires_at)
        return await self._database.write(transaction)

    async def release_leases(self, leases: Leases, now: Micros) -> None:
        if leases:
            await self._database.write(lease_keeping.release_leases(self._statements, leases, now))

    # --- runs, as their starters and observers see them ------------------------------------------

    async def start_runs(self, runs: Sequence[NewRun]) -> Sequence[StartOutcome]:
        if not runs:
            return ()
        created: Mapping[RunId, StartOutcome] = {}
        if plain_starts.are_plain(runs):
            created = await plain_starts.start_plain_runs(self._database, runs)
        left = [new for new in runs if new.run_id not in created]
        others = await self._write(lambda s: starts.start_runs(s, left)) if left else []
        rest = iter(others)
        return [created.get(new.run_id) or next(rest) for new in runs]

    async def send_messages(
        self, messages: Sequence[Message], now: Micros
    ) -> Sequence[SendOutcome]:
        if not messages:
            return ()
        delivered: Collection[WorkflowId] = ()
        if plain_messages.are_plain(messages):
            delivered = await plain_messages.send_plain_messages(self._database, messages, now)
        left = [message for message in messages if message.workflow_id not in delivered]
        others = await self._write(lambda s: writes.send_messages(s, left, now)) if left else []
        known = (message.workflow_id in delivered for message in messages)
        return _merged(known, SendOutcome.ACCEPTED, others)

    async def find_answer(self, chain: RunId, message_id: MessageId) -> Answer | None:
        transaction = run_keeping.find_answer(self._statements, chain, message_id)
        return await self._database.read(transaction)

    async def find_run(
        self, workflow_id: WorkflowId, run_id: RunId | None = None
    ) -> RunRecord | None:
        transaction = run_keeping.find_run(self._statements, workflow_id, run_id)
        return await self._database.read(transaction)

    async def list_runs(self, where: RunFilter) -> Sequence[RunRecord]:
        return await self._database.read(lists.list_runs(self._statements, where))

    async def count_runs(self, where: RunFilter) -> int:
        return await self._database.read(lists.count_runs(self._statements, where))

    async def read_labels(self, run_keys: Sequence[RunKey]) -> Sequence[Labels]:
        if not run_keys:
            return ()
        return await self._database.read(lists.read_labels(self._statements, run_keys))

    async def list_tasks(self, run_key: RunKey) -> Sequence[PendingTask]:
        return await self._database.read(run_keeping.list_tasks(self._statements, run_key))

    async def list_messages(self, run_key: RunKey) -> Sequence[InboxRecord]:
        return await self._database.read(run_keeping.list_messages(self._statements, run_key))

    async def delete_runs(self, run_keys: Sequence[RunKey]) -> int:
        if not run_keys:
            return 0
        return await self._database.write(run_keeping.delete_runs(self._statements, run_keys))

    async def read_history(
        self, run_key: RunKey, *, after: int = 0, limit: int = 1000
    ) -> Sequence[EventRecord]:
        transaction = run_keeping.read_history(self._statements, run_key, after, limit)
        return await self._database.read(transaction)

    async def read_beginnings(
        self, run_keys: Sequence[RunKey], *, through: int
    ) -> Sequence[Sequence[EventRecord]]:
        if not run_keys:
            return ()
        transaction = run_keeping.read_beginnings(self._statements, run_keys, through)
        return await self._database.read(transaction)

    async def read_logs(
        self, run_key: RunKey, *, after: int = 0, limit: int = 1000
    ) -> Sequence[LogRecord]:
        transaction = run_keeping.read_logs(self._statements, run_key, after, limit)
        return await self._database.read(transaction)

    async def _write[T](self, begin: Callable[[Statements], Transaction[T]]) -> T:
        """Run a transaction until it is not overtaken by others."""
        for _ in range(_PATIENCE):
            with suppress(Overtaken):
                return await self._database.write(begin(self._statements))
        raise StoreUnavailableError("the same workflow ids keep being started and continued")


def _merged[T](is_done: Iterable[bool], done: T, others: Iterable[T]) -> list[T]:
    """An outcome for each: of those that are done the same, of the others their own, in order."""
    rest = iter(others)
    return [done if each else next(rest) for each in is_done]
