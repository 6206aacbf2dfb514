"""The port: everything that Loom asks of a database.

Each method is one atomic, durable transaction over a batch. The batch is an efficiency hint: one
transaction for all of it, or one for each item in turn, are both correct. Outcomes come back in
the order of the batch.

The rules, each of which the conformance suite tests:

1. A transition is all or nothing, its effects on other runs and the runs that it starts included.
2. The fence is the lease token **and** the expected sequence. A lost lease is the outcome of one
   item and never harms its neighbours in the batch.
3. An exception means *outcome unknown for the whole batch*.
4. Message ids are chosen by the sender; delivery is idempotent.
5. ``now`` is an argument. Clocks decide liveness, never safety: a write is never refused because
   a lease has run out, only because somebody else has claimed since.
6. Payloads are opaque bytes. No session, tracer, option or policy crosses the port.

Errors: ``StoreUnavailableError`` when the database cannot be reached or is busy beyond patience,
so that the same call may well succeed later; ``StoreError`` for anything else that it refuses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

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


class Role:
    """What all roles of a store have in common."""

    works_elsewhere: bool = False
    """Whether the store works while this process computes, as a server does, and not in a thread
    that takes turns with it. Writes are then sent off before a large batch has gathered."""


class LeaseRepository(Role, ABC):
    """Who holds what, and until when."""

    @abstractmethod
    async def current_time(self) -> Micros:
        """The database's clock, against which leases are held."""

    @abstractmethod
    async def extend_leases(self, leases: Leases, owner: WorkerId, expires_at: Micros) -> Leases:
        """Move the expiry of held leases, and return those that are no longer held.

        A lease that has run out but that nobody else has claimed is still held.
        """

    @abstractmethod
    async def release_leases(self, leases: Leases, now: Micros) -> None:
        """Give leases back, so that anybody may claim at once. Lost ones are passed over.

        A released run is due at once when its inbox is not empty, else when its timer is, and no
        owner of it counts as lost any more. A released task is due at once, and the attempt that
        its claim counted is taken back.
        """


class HistoryRepository(Role, ABC):
    """What happened to a run."""

    @abstractmethod
    async def read_history(
        self, run_key: RunKey, *, after: int = 0, limit: int = 1000
    ) -> Sequence[EventRecord]:
        """Up to ``limit`` events with a sequence greater than ``after``, in order."""

    async def read_beginnings(
        self, run_keys: Sequence[RunKey], *, through: int
    ) -> Sequence[Sequence[EventRecord]]:
        """Of each of these runs the events with sequences up to ``through``, in order.

        A store that can read them together should: here it is one after the other.
        """
        return [await self.read_history(key, limit=through) for key in run_keys]

    @abstractmethod
    async def read_logs(
        self, run_key: RunKey, *, after: int = 0, limit: int = 1000
    ) -> Sequence[LogRecord]:
        """Up to ``limit`` log lines with a position greater than ``after``, in order."""


class WorkflowTaskRepository(LeaseRepository, HistoryRepository):
    """Turns of runs."""

    @abstractmethod
    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        """Take runs that want a turn, oldest due first, and lease them to the claimer. The one
        that has ``lost_owners`` comes on top of the limit, or others might always come before it.

        Whoever takes a run over from an owner whose lease has run out counts that owner as lost.
        """

    @abstractmethod
    async def write_transitions(self, transitions: Sequence[Transition]) -> Sequence[WriteOutcome]:
        """Write each transition whole, or not at all when its fence does not hold.

        A run that is given back is due at once when messages beyond ``consumed_through`` wait in
        its inbox, else at ``wake_at``.
        """


class ActivityTaskRepository(LeaseRepository):
    """Attempts of activities."""

    @abstractmethod
    async def claim_activity_tasks(self, claim: ActivityClaim) -> ActivityTasks:
        """Take tasks that are due and that nobody holds, and lease them to the claimer."""

    @abstractmethod
    async def complete_activity_tasks(
        self, completions: Sequence[ActivityCompletion]
    ) -> Sequence[WriteOutcome]:
        """End attempts: message the run, make the task available again, or park it.

        ``LOST`` when the attempt is over: its task is gone, has been claimed since, was given back,
        or has been made available again by this very completion, sent before.
        """

    @abstractmethod
    async def record_heartbeats(self, heartbeats: Sequence[Heartbeat]) -> Sequence[WriteOutcome]:
        """Keep what attempts say of how far they are. ``LOST`` when the attempt is over."""


class RunRepository(HistoryRepository):
    """Runs as their starters and observers see them."""

    @abstractmethod
    async def start_runs(self, runs: Sequence[NewRun]) -> Sequence[StartOutcome]:
        """Create runs. Idempotent by ``run_id``; at most one open run has a ``workflow_id``.

        Whether a run is refused after the end of another is decided in the same transaction, so
        that of many starts at once no more are let through than of many one after the other.

        What a run starts in its own first turn is started with it, and only if it is created.
        """

    @abstractmethod
    async def send_messages(
        self, messages: Sequence[Message], now: Micros
    ) -> Sequence[SendOutcome]:
        """Put messages into inboxes, in order, and make their runs due.

        One that is in the inbox, in history or among the answers of its run is there already.
        """

    @abstractmethod
    async def find_answer(self, chain: RunId, message_id: MessageId) -> Answer | None:
        """What a run of a chain, named by its first, has answered to a message; ``None`` when none
        has. A run that continues no other is the first of a chain."""

    @abstractmethod
    async def find_run(
        self, workflow_id: WorkflowId, run_id: RunId | None = None
    ) -> RunRecord | None:
        """The run with that ``run_id``, or the newest one with that ``workflow_id``."""

    @abstractmethod
    async def list_runs(self, where: RunFilter) -> Sequence[RunRecord]:
        """Runs that match, newest first.

        Paged through by ``before``, a list tells of no run twice and misses none that was there
        from the first page on and still matches.
        """

    @abstractmethod
    async def count_runs(self, where: RunFilter) -> int:
        """How many runs match, whatever ``limit`` and ``before`` say."""

    @abstractmethod
    async def read_labels(self, run_keys: Sequence[RunKey]) -> Sequence[Labels]:
        """The tags and memos of runs, in the order of the keys; a run that is gone has none."""

    @abstractmethod
    async def list_tasks(self, run_key: RunKey) -> Sequence[PendingTask]:
        """The activity tasks that a run is waiting for, in order of their ids."""

    @abstractmethod
    async def list_messages(self, run_key: RunKey) -> Sequence[InboxRecord]:
        """What waits in a run's inbox, in order; it stays there."""

    @abstractmethod
    async def delete_runs(self, run_keys: Sequence[RunKey]) -> int:
        """Delete closed runs with all that belongs to them; return how many. Open ones stay."""


class Repository(WorkflowTaskRepository, ActivityTaskRepository, RunRepository):
    """All roles together: what a store implements. Callers take the narrowest that serves."""
