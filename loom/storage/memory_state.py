"""What the reference store keeps of one run, and the rules that need to see no other run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from loom.errors import StoreError
from loom.history.status import RunStatus
from loom.identifiers import MessageId, Micros, RunId, RunKey, WorkerId
from loom.storage.records import (
    ActivityCompletion,
    ActivityTask,
    Answer,
    Arrival,
    Effects,
    EventRecord,
    Heartbeat,
    InboxRecord,
    Labels,
    LogRecord,
    NewRun,
    NewTask,
    PendingTask,
    RunFilter,
    RunRecord,
    WorkflowClaim,
)


@dataclass(slots=True, eq=False)
class StoredTask:
    """An activity to be run."""

    new: NewTask
    available_at: Micros
    attempt: int = 0
    failures: int = 0
    token: int = 0
    lease_owner: WorkerId | None = None
    lease_expires_at: Micros | None = None
    last_failure: bytes | None = None
    details: bytes | None = None
    start_by: Micros | None = None
    parked_until: Micros | None = None

    @property
    def due_at(self) -> Micros:
        return self.available_at if self.lease_expires_at is None else self.lease_expires_at

    def is_under_way(self, token: int) -> bool:
        """Whether that attempt is held by a worker, or goes on without one."""
        is_over = self.lease_owner is None and self.parked_until is None
        return self.token == token and not is_over

    def may_start(self, now: Micros) -> bool:
        return self.start_by is None or now < self.start_by

    def lease(self, owner: WorkerId, expires_at: Micros | None) -> None:
        if self.parked_until is None:
            self.attempt += 1
        self.token += 1
        self.lease_owner, self.lease_expires_at = owner, expires_at
        self.start_by = None

    def give_back(self, now: Micros) -> None:
        """End a lease whose attempt did not take place."""
        if self.parked_until is None:
            self.attempt -= 1
        self.free(now)

    def free(self, available_at: Micros) -> None:
        self.available_at = available_at
        self.lease_owner = self.lease_expires_at = None

    def end(self, completion: ActivityCompletion) -> None:
        """The attempt has failed, or goes on without its worker."""
        self.parked_until = completion.parked_until
        if completion.details is not None:
            self.details = completion.details
        if completion.parked_until is None:
            self.failures += 1
            self.last_failure = completion.failure
        self.free(completion.now if completion.retry_at is None else completion.retry_at)

    def hear(self, heartbeat: Heartbeat) -> None:
        if heartbeat.details is not None:
            self.details = heartbeat.details
        if self.parked_until is not None and heartbeat.retry_at is not None:
            self.available_at = heartbeat.retry_at

    def as_pending(self) -> PendingTask:
        return PendingTask(
            self.new.activity_id,
            self.new.name,
            self.new.queue,
            self.attempt,
            self.failures,
            self.available_at,
            self.lease_owner,
            self.lease_expires_at,
            self.last_failure,
            self.details,
            self.start_by,
            self.parked_until,
        )


@dataclass(slots=True, eq=False)
class StoredRun:
    """A run with all that belongs to it."""

    record: RunRecord
    token: int = 0
    due_at: Micros | None = None
    """When somebody wants it next: anybody a free run, its holder the messages that have come for
    it since its last claim, and anybody else what is left when the lease has run out."""
    last_position: int = 0
    events: list[EventRecord] = field(default_factory=list)
    logs: list[LogRecord] = field(default_factory=list)
    inbox: list[InboxRecord] = field(default_factory=list)
    left: list[InboxRecord] = field(default_factory=list)
    """What was in its inbox when it closed, for the run that continues it."""
    tasks: dict[int, StoredTask] = field(default_factory=dict)
    labels: Labels = field(default_factory=Labels)
    answers: dict[MessageId, Answer] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        return self.record.status.is_open

    @property
    def shown(self) -> RunRecord:
        """The run as the port shows it."""
        record = self.record
        is_free = record.lease_owner is None
        return replace(record, due_at=self.due_at if is_free else record.lease_expires_at)

    # The chain

    @property
    def first_run_id(self) -> RunId:
        return self.record.first_run_id or self.record.run_id

    def follow(self, predecessor: StoredRun) -> None:
        self.record = replace(
            self.record,
            continued_from=predecessor.record.run_id,
            first_run_id=predecessor.first_run_id,
        )

    # Messages

    def has_taken(self, message_id: MessageId) -> bool:
        received: Iterable[EventRecord | InboxRecord] = (*self.events, *self.inbox)
        return message_id in self.answers or any(item.message_id == message_id for item in received)

    def receive(
        self, message_id: MessageId, arrival: Arrival, now: Micros, *, urgent: bool = False
    ) -> None:
        self.last_position += 1
        self.inbox.append(InboxRecord(self.last_position, message_id, arrival))
        # The holder of a lease is given messages by its own claims, while others wait it out.
        if self.record.lease_owner is not None or self._heeds_messages:
            due_at = now if urgent else self._not_before_start(now)
            self.due_at = due_at if self.due_at is None else min(self.due_at, due_at)

    def consume(self, through: int) -> None:
        self.inbox = [message for message in self.inbox if message.position > through]

    # The lease

    def is_held_by_another(self, owner: WorkerId, now: Micros) -> bool:
        expires_at = self.record.lease_expires_at
        return expires_at is not None and expires_at > now and self.record.lease_owner != owner

    def is_taken_over_by(self, owner: WorkerId) -> bool:
        return self.record.lease_owner not in (None, owner)

    def lease(self, owner: WorkerId, expires_at: Micros) -> None:
        if self.is_taken_over_by(owner):
            self.record = replace(self.record, lost_owners=self.record.lost_owners + 1)
        if self.record.lease_owner != owner:
            self.token += 1
        self.hold(owner, expires_at)
        self.due_at = expires_at

    def extend(self, owner: WorkerId, expires_at: Micros) -> None:
        self.hold(owner, expires_at)
        # Messages that its holder has not seen, or has seen and left, stay due to it.
        if not self.inbox:
            self.due_at = expires_at

    def hold(self, owner: WorkerId, expires_at: Micros) -> None:
        self.record = replace(self.record, lease_owner=owner, lease_expires_at=expires_at)

    def free(self, due_at: Micros | None) -> None:
        self.record = replace(self.record, lease_owner=None, lease_expires_at=None)
        self.due_at = due_at

    def give_back(self, now: Micros) -> None:
        self.record = replace(self.record, lost_owners=0)
        self.release(now)

    def release(self, now: Micros) -> None:
        wanted = self.inbox and self._heeds_messages
        self.free(self._not_before_start(now) if wanted else self.record.wake_at)

    def _not_before_start(self, moment: Micros) -> Micros:
        return max(moment, self.record.start_at or 0)

    @property
    def _heeds_messages(self) -> bool:
        # What a blocked run could not get past waits in its inbox, and would make it due forever.
        return self.record.status is not RunStatus.BLOCKED

    # One turn

    def refuse_malformed(self, effects: Effects) -> None:
        """Find what is wrong before anything is written."""
        first = len(self.events) + 1
        sequences = [event.sequence for event in effects.events]
        if sequences != list(range(first, first + len(sequences))):
            raise StoreError(f"the events of run {self.record.run_id} do not follow its history")
        kept = self.tasks.keys() - set(effects.finished_tasks)
        ids = [*kept, *(task.activity_id for task in effects.tasks)]
        if len(ids) != len(set(ids)):
            raise StoreError(f"run {self.record.run_id} already has a task of that activity id")

    def apply(self, effects: Effects, owner: WorkerId) -> None:
        """Write all of a turn but its messages to other runs."""
        self.events.extend(effects.events)
        self.logs.extend(effects.logs)
        for answer in effects.answers:
            self.answers.setdefault(answer.message_id, answer)
        self.record = replace(
            self.record,
            status=effects.status,
            sequence=len(self.events),
            updated_at=effects.recorded_at,
            closed_at=None if effects.status.is_open else effects.recorded_at,
            wake_at=effects.wake_at,
            blocked_reason=effects.blocked_reason,
            lost_owners=self.record.lost_owners if effects.status is RunStatus.BLOCKED else 0,
        )
        tags = {**self.labels.tags, **effects.tags}
        kept = {name: value for name, value in tags.items() if value is not None}
        self.labels = replace(self.labels, tags=kept)
        for activity_id in effects.finished_tasks:
            self.tasks.pop(activity_id, None)
        for new in effects.tasks:
            self.tasks[new.activity_id] = StoredTask(new, new.available_at, start_by=new.start_by)
            if new.leased:
                self.tasks[new.activity_id].lease(owner, effects.task_lease_expires_at)
        self._keep_or_give_back(effects, owner)

    def _keep_or_give_back(self, effects: Effects, owner: WorkerId) -> None:
        if not self.is_open:
            self.left = self.inbox
            self.tasks, self.inbox = {}, []
            self.free(None)
        elif effects.lease_expires_at is not None:
            self.hold(owner, effects.lease_expires_at)
            self.due_at = effects.recorded_at if self.inbox else effects.lease_expires_at
        else:
            self.release(effects.recorded_at)


def born(new: NewRun, run_key: RunKey) -> StoredRun:
    """A run without any history yet."""
    record = RunRecord(
        run_key=run_key,
        workflow_id=new.workflow_id,
        run_id=new.run_id,
        name=new.name,
        version=new.version,
        queue=new.queue,
        status=new.effects.status,
        sequence=0,
        created_at=new.effects.recorded_at,
        updated_at=new.effects.recorded_at,
        start_at=new.start_at,
        deadline=new.deadline,
    )
    token = 0 if new.owner is None else 1
    return StoredRun(record, token=token, labels=Labels(memo=new.memo))


def refuse_malformed_starts(run_id: RunId, effects: Effects) -> None:
    """Find what is wrong with the runs that a turn starts before anything is written."""
    for new in effects.starts:
        is_continued = new.continues == run_id and not effects.status.is_open
        if new.continues is not None and not is_continued:
            raise StoreError(f"run {new.run_id} continues one that is not closed with it")
        born(new, 0).refuse_malformed(new.effects)
        refuse_malformed_starts(new.run_id, new.effects)


# --- what a claim or a filter matches ------------------------------------------------------------


def is_claimable(run: StoredRun, claim: WorkflowClaim) -> bool:
    """Whether the claimer may take it now."""
    if not is_meant(run, claim) or run.is_held_by_another(claim.owner, claim.now):
        return False
    return claim.run_key is not None or _wants_a_turn(run, claim)


def is_meant(run: StoredRun, claim: WorkflowClaim) -> bool:
    """Whether the claim asks for it, now or when it is due."""
    record = run.record
    if claim.run_key is not None:
        return run.is_open and record.run_key == claim.run_key
    if record.lost_owners and not claim.suspects:
        return False
    kind = (record.name, record.version)
    return run.is_open and record.queue == claim.queue and kind in claim.definitions


def _wants_a_turn(run: StoredRun, claim: WorkflowClaim) -> bool:
    if run.due_at is not None and run.due_at <= claim.now:
        return True
    is_free = run.record.lease_owner is None
    is_blocked = run.record.status is RunStatus.BLOCKED and not run.record.lost_owners
    return is_free and is_blocked and run.record.updated_at < claim.blocked_before


def due_for(run: StoredRun, claim: WorkflowClaim) -> Micros | None:
    """When the claimer may have what it cannot have now."""
    if run.is_held_by_another(claim.owner, claim.now):
        return run.record.lease_expires_at
    return run.due_at


def matches(run: StoredRun, where: RunFilter) -> bool:
    """Whether a filter, its paging aside, is for such a run."""
    record = run.record
    return (
        where.status in (None, record.status)
        and where.is_open in (None, record.status.is_open)
        and where.name in (None, record.name)
        and where.version in (None, record.version)
        and where.queue in (None, record.queue)
        and where.workflow_id in (None, record.workflow_id)
        and record.workflow_id.startswith(where.workflow_id_prefix or "")
        and where.tags.items() <= run.labels.tags.items()
        and _is_within(record.created_at, where.created_from, where.created_before)
        and _is_within(record.closed_at, where.closed_from, where.closed_before)
    )


def _is_within(moment: Micros | None, first: Micros | None, end: Micros | None) -> bool:
    if moment is None:
        return first is None and end is None
    return (first is None or first <= moment) and (end is None or moment < end)


def earliest(moments: Iterable[Micros | None]) -> Micros | None:
    """The first of the moments that are known."""
    return min((moment for moment in moments if moment is not None), default=None)


def as_activity_task(run: StoredRun, task: StoredTask) -> ActivityTask:
    """The attempt as its claimer is told of it."""
    return ActivityTask(
        run_key=run.record.run_key,
        workflow_id=run.record.workflow_id,
        run_id=run.record.run_id,
        activity_id=task.new.activity_id,
        attempt=task.attempt,
        failures=task.failures,
        token=task.token,
        scheduled=run.events[task.new.sequence - 1],
        last_failure=task.last_failure,
        details=task.details,
        parked_until=task.parked_until,
    )
