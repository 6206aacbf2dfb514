"""Rows as Python objects: those of the port, and those that a transaction changes and saves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Column

from loom.errors import StoreError
from loom.history.status import RunStatus
from loom.identifiers import Micros, RunId, RunKey, WorkerId, WorkflowId
from loom.storage.records import (
    ActivityCompletion,
    Arrival,
    Effects,
    EventRecord,
    Heartbeat,
    InboxRecord,
    NewRun,
    RunRecord,
)
from loom.storage.sql.dialects import Row
from loom.storage.sql.statements.runs import RUN_STATE, TURN


@dataclass(slots=True)
class RunState:
    """A run's row while its transaction holds it; the fields are the table's columns."""

    run_key: RunKey
    workflow_id: WorkflowId
    run_id: RunId
    name: str
    version: str
    queue: str
    status: RunStatus
    sequence: int
    created_at: Micros
    updated_at: Micros
    closed_at: Micros | None
    wake_at: Micros | None
    blocked_reason: str | None
    lease_owner: WorkerId | None
    lease_expires_at: Micros | None
    lease_token: int
    due_at: Micros | None
    inbox_count: int
    inbox_consumed: int
    continued_from: RunId | None = None
    first_run_id: RunId | None = None
    start_at: Micros | None = None
    deadline: Micros | None = None
    lost_owners: int = 0

    @property
    def is_open(self) -> bool:
        return self.closed_at is None

    @property
    def has_messages(self) -> bool:
        return self.inbox_count > self.inbox_consumed

    def record(self) -> RunRecord:
        """The run as the port shows it."""
        return RunRecord(
            run_key=self.run_key,
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            name=self.name,
            version=self.version,
            queue=self.queue,
            status=self.status,
            sequence=self.sequence,
            created_at=self.created_at,
            updated_at=self.updated_at,
            closed_at=self.closed_at,
            wake_at=self.wake_at,
            blocked_reason=self.blocked_reason,
            lease_owner=self.lease_owner,
            lease_expires_at=self.lease_expires_at,
            due_at=_due_to_anybody(self.due_at, self.lease_owner, self.lease_expires_at),
            continued_from=self.continued_from,
            first_run_id=self.first_run_id,
            start_at=self.start_at,
            deadline=self.deadline,
            lost_owners=self.lost_owners,
        )

    @property
    def chain(self) -> RunId:
        """The run that its chain began with."""
        return self.first_run_id or self.run_id

    # --- as it is written ------------------------------------------------------------------------

    def row(self) -> Row:
        return _ROW(self)

    def new_row(self) -> Row:
        """As it is inserted: all but the key, which it is given by that."""
        return _NEW_ROW(self)

    def turn_row(self) -> Row:
        """Its key, and what a turn may have changed."""
        return _TURN_ROW(self)

    # --- one turn --------------------------------------------------------------------------------

    def apply(self, effects: Effects, owner: WorkerId, consumed_through: int = 0) -> None:
        """Take a turn, as far as the row tells of it."""
        for event in effects.events:
            self.sequence += 1
            if event.sequence != self.sequence:
                raise StoreError(f"the events of run {self.run_id} do not follow its history")
        self.inbox_consumed = max(self.inbox_consumed, consumed_through)
        self.status = effects.status
        self.updated_at = effects.recorded_at
        self.wake_at = effects.wake_at
        self.blocked_reason = effects.blocked_reason
        if effects.status is not RunStatus.BLOCKED:
            self.lost_owners = 0
        if not effects.status.is_open:
            self._close(effects.recorded_at)
        elif effects.lease_expires_at is not None:
            self._keep(owner, effects.lease_expires_at, effects.recorded_at)
        else:
            self.release(effects.recorded_at)

    def _keep(self, owner: WorkerId, expires_at: Micros, now: Micros) -> None:
        self.lease_owner, self.lease_expires_at = owner, expires_at
        if self.has_messages:
            self.due_at = now
        elif self.due_at is None or not now < self.due_at <= expires_at:
            # An end of lease that is still to come may stay: it is only looked at too early, and
            # a turn that leaves due_at alone costs Postgres no new entries in any index.
            self.due_at = expires_at

    def _close(self, now: Micros) -> None:
        self.closed_at = now
        self.lease_owner = self.lease_expires_at = self.due_at = None
        self.inbox_consumed = self.inbox_count

    # --- messages and leases ---------------------------------------------------------------------

    def receive(self, now: Micros, *, urgent: bool = False) -> int:
        """Count a message in; returns its position."""
        self.inbox_count += 1
        # The holder of a lease is given messages by its own claims, while others wait it out.
        if self.lease_owner is not None or self._heeds_messages:
            due_at = now if urgent else self._not_before_start(now)
            self.due_at = due_at if self.due_at is None else min(self.due_at, due_at)
        return self.inbox_count

    def is_taken_over_by(self, owner: WorkerId) -> bool:
        return self.lease_owner not in (None, owner)

    def lease(self, owner: WorkerId, expires_at: Micros) -> None:
        """Claim it. Who holds it already keeps its token."""
        if self.is_taken_over_by(owner):
            self.lost_owners += 1
        if self.lease_owner != owner:
            self.lease_token += 1
        self.lease_owner, self.lease_expires_at = owner, expires_at
        self.due_at = expires_at

    def give_back(self, now: Micros) -> None:
        """End a lease whose holder lives."""
        self.lost_owners = 0
        self.release(now)

    def release(self, now: Micros) -> None:
        """Let go of it."""
        self.lease_owner = self.lease_expires_at = None
        wanted = self.has_messages and self._heeds_messages
        self.due_at = self._not_before_start(now) if wanted else self.wake_at

    def _not_before_start(self, moment: Micros) -> Micros:
        return max(moment, self.start_at or 0)

    @property
    def _heeds_messages(self) -> bool:
        # What a blocked run could not get past waits in its inbox, and would make it due forever.
        return self.status is not RunStatus.BLOCKED


def _getter(columns: Iterable[Column[Any]]) -> attrgetter[Row]:
    # Drivers take longer over a text that is a member of an enumeration.
    names = (column.name for column in columns)
    return attrgetter(*("status.value" if name == "status" else name for name in names))


_ROW: Final = _getter(RUN_STATE)
_NEW_ROW: Final = _getter(RUN_STATE[1:])
_TURN_ROW: Final = _getter([RUN_STATE[0], *TURN])


def born(new: NewRun) -> RunState:
    """A run without a key, before its first turn."""
    now = new.effects.recorded_at
    return RunState(
        run_key=0,
        workflow_id=new.workflow_id,
        run_id=new.run_id,
        name=new.name,
        version=new.version,
        queue=new.queue,
        status=new.effects.status,
        sequence=0,
        created_at=now,
        updated_at=now,
        closed_at=None,
        wake_at=None,
        blocked_reason=None,
        lease_owner=None,
        lease_expires_at=None,
        lease_token=0 if new.owner is None else 1,
        due_at=None,
        inbox_count=0,
        inbox_consumed=0,
        start_at=new.start_at,
        deadline=new.deadline,
    )


def run_state(row: Row) -> RunState:
    return RunState(*_with_status(row))


@dataclass(slots=True)
class TaskState:
    """An activity task's row while its transaction holds it."""

    run_key: RunKey
    activity_id: int
    lease_token: int
    lease_owner: WorkerId | None
    lease_expires_at: Micros | None
    attempt: int
    failures: int
    available_at: Micros
    due_at: Micros
    last_failure: bytes | None
    details: bytes | None
    start_by: Micros | None
    parked_until: Micros | None

    def is_under_way(self, token: int) -> bool:
        """Whether that attempt is held by a worker, or goes on without one."""
        is_over = self.lease_owner is None and self.parked_until is None
        return self.lease_token == token and not is_over

    def lease(self, owner: WorkerId, expires_at: Micros) -> None:
        """Claim it for one more attempt, or for the end of a parked one, which stays one until it
        is ended: whoever claims it may give it back, or be lost."""
        self.lease_token += 1
        if self.parked_until is None:
            self.attempt += 1
        self.start_by = None
        self.extend(owner, expires_at)

    def extend(self, owner: WorkerId, expires_at: Micros) -> None:
        self.lease_owner = owner
        self.lease_expires_at = self.due_at = expires_at

    def give_back(self, now: Micros) -> None:
        """End a lease whose attempt did not take place."""
        if self.parked_until is None:
            self.attempt -= 1
        self.free(now)

    def free(self, available_at: Micros) -> None:
        """End the attempt; another may follow."""
        self.lease_owner = self.lease_expires_at = None
        self.available_at = self.due_at = available_at

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
        """Keep what a sign of life brings."""
        if heartbeat.details is not None:
            self.details = heartbeat.details
        if self.parked_until is not None and heartbeat.retry_at is not None:
            self.available_at = self.due_at = heartbeat.retry_at

    def row(self) -> Row:
        """As it is saved."""
        return _TASK_ROW(self)


_TASK_ROW: Final = attrgetter(*(field.name for field in fields(TaskState)))


def run_record(row: Row) -> RunRecord:
    record = RunRecord(*_with_status(row))
    due_at = _due_to_anybody(record.due_at, record.lease_owner, record.lease_expires_at)
    return record if due_at == record.due_at else replace(record, due_at=due_at)


def _due_to_anybody(
    due_at: Micros | None, owner: WorkerId | None, lease_expires_at: Micros | None
) -> Micros | None:
    # What is due to the holder of a lease alone, as messages are, is nobody else's until its end.
    return due_at if owner is None else lease_expires_at


def _with_status(row: Row) -> list[Any]:
    values = list(row)
    values[_STATUS] = _status(values[_STATUS], values[_CLOSED_AT])
    return values


def _status(written: str, closed_at: Micros | None) -> RunStatus:
    try:
        return RunStatus(written)
    except ValueError:
        # A damaged row must not keep its neighbours from being claimed and listed. What counts is
        # whether the run is open: its next turn writes the status anew.
        return RunStatus.RUNNING if closed_at is None else RunStatus.FAILED


_COLUMNS: Final = [column.name for column in fields(RunRecord)]
_STATUS, _CLOSED_AT = _COLUMNS.index("status"), _COLUMNS.index("closed_at")


def event_record(row: Row) -> EventRecord:
    return EventRecord(*row)


def inbox_record(row: Row) -> InboxRecord:
    """From a row that begins with the run's key."""
    _, position, message_id, *arrival = row
    return InboxRecord(position, message_id, Arrival(*arrival))
