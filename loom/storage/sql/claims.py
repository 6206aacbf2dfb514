"""Claiming runs and activity tasks.

A claim first looks without locks, since most find nothing, and only then opens a transaction that
writes; on Postgres a claim does both in one statement, and passes over rows that somebody else is
just claiming.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from loom.identifiers import Micros, RunKey
from loom.storage.records import (
    ActivityClaim,
    ActivityTask,
    ActivityTasks,
    InboxRecord,
    WorkflowClaim,
    WorkflowTask,
    WorkflowTasks,
)
from loom.storage.sql.dialects import Row
from loom.storage.sql.rows import RunState, TaskState, event_record, inbox_record, run_state
from loom.storage.sql.statements import Statements
from loom.storage.sql.statements.claims import OUTLOOK
from loom.storage.sql.statements.runs import RUN_STATE
from loom.storage.sql.statements.tasks import OUTLOOK as TASK_OUTLOOK
from loom.storage.sql.statements.tasks import TASK_STATE
from loom.storage.sql.transactions import Database, Many, Query, Rows, Transaction
from loom.values import value

_MANY: Final = 2**31 - 1


@value(frozen=True, slots=True)
class Outlook:
    """What a look without locks has found: when the next items are due, in order."""

    due: Sequence[Micros]
    now: Micros
    is_blocked_due: bool = False
    is_suspect_due: bool = False
    """Whether a run is due that may be what its owners were lost of."""

    @property
    def has_due(self) -> bool:
        return self.is_blocked_due or bool(self.due and self.due[0] <= self.now)

    def next_due_at(self, claimed: int, limit: int) -> Micros | None:
        """When there is more to claim, once so many are claimed.

        What was due but could not be had is not counted: others took it, or are about to.
        """
        if claimed >= limit:
            return self.due[limit] if len(self.due) > limit else None
        return next((moment for moment in self.due if moment > self.now), None)


def _is_moment(value: object) -> bool:
    """SQLite keeps whatever somebody puts into a column, and sorts texts behind all numbers."""
    return isinstance(value, int)


# --- runs ----------------------------------------------------------------------------------------


def look_for_runs(s: Statements, claim: WorkflowClaim) -> Transaction[Outlook]:
    """When runs that the claim would match are due."""
    parameters = _claim_parameters(s, claim)
    rows = yield Query(s.claims.look_for_due, {**parameters, "limit": claim.limit + 1})
    # A row may be looked at before the lease on it ends, but not be had.
    looks = [
        (at, end, lost) for at, _, end, lost in rows if _is_moment(at) and _is_moment(end or 0)
    ]
    due = [max(at, end) if end and at > claim.now else at for at, end, _ in looks]
    suspected = any(lost and at <= claim.now for at, _, lost in looks)
    blocked: Rows = ()
    if claim.blocked_before:
        blocked = yield Query(s.claims.look_for_blocked, parameters)
    return Outlook(sorted(due), claim.now, bool(blocked), suspected)


def claim_runs(s: Statements, claim: WorkflowClaim) -> Transaction[list[WorkflowTask]]:
    """Take runs that want a turn, oldest due first."""
    parameters = _claim_parameters(s, claim)
    rows: list[Row] = []
    if claim.limit:
        rows += yield Query(s.claims.claim_due, {**parameters, "limit": claim.limit})
    if claim.blocked_before and (room := claim.limit - len(rows)):
        rows += yield Query(s.claims.claim_blocked, {**parameters, "limit": room})
    if claim.suspects:
        # Beside the others, or where there is much to do it would never be its turn.
        rows += yield Query(s.claims.claim_suspect, {**parameters, "limit": 1})
    return (yield from _lease(s, claim, rows))


async def claim_at_once(database: Database, claim: WorkflowClaim) -> WorkflowTasks:
    """The same on Postgres, in one statement."""
    s, at_once = database.statements, database.statements.claims_at_once
    assert at_once is not None
    limits = {"limit": claim.limit, "lease_expires_at": claim.lease_expires_at}
    parameters = _claim_parameters(s, claim) | limits
    rows = await database.write_at_once(Query(at_once.lease_due, parameters))
    next_due_at, due_beyond, is_blocked_due, is_suspect_due = rows[0][: len(OUTLOOK)]
    tasks = await _tasks_of(database, [row[len(OUTLOOK) :] for row in rows])
    room = claim.limit - len(tasks)
    if is_suspect_due or (room and is_blocked_due):
        seen = replace(claim, limit=room, suspects=is_suspect_due)
        tasks += await database.write(claim_runs(s, seen))
    return WorkflowTasks(tasks, next_due_at if len(tasks) < claim.limit else due_beyond)


async def _tasks_of(database: Database, rows: Rows) -> list[WorkflowTask]:
    """Runs with their messages, from rows of both."""
    columns = len(RUN_STATE)
    runs: dict[RunKey, RunState] = {}
    lost: dict[RunKey, bool] = {}
    inboxes: dict[RunKey, list[InboxRecord]] = defaultdict(list)
    for row in rows:
        key, owner_lost, message = row[0], row[columns], row[columns + 1 :]
        if key is not None and key not in runs:
            runs[key] = run_state(row[:columns])
            lost[key] = owner_lost
        if message[0] is not None:
            inboxes[key].append(inbox_record(message))
    # The statement sees its runs as they were when it locked them, and messages as they were when
    # it began.
    stale = [key for key, run in runs.items() if not _has_all(run, inboxes[key])]
    if stale:
        inboxes.update(await database.read(_read_inboxes(database.statements, stale)))
    return _tasks(runs.values(), inboxes, {key for key in runs if lost[key]})


def _has_all(run: RunState, messages: Sequence[InboxRecord]) -> bool:
    waiting = range(run.inbox_consumed + 1, run.inbox_count + 1)
    return [message.position for message in messages] == list(waiting)


def claim_one_run(s: Statements, claim: WorkflowClaim) -> Transaction[list[WorkflowTask]]:
    """Take one particular run, due or not."""
    parameters = {"key": claim.run_key, "owner": claim.owner, "now": claim.now}
    rows = yield Query(s.claims.claim_one, parameters)
    return (yield from _lease(s, claim, rows))


def _claim_parameters(s: Statements, claim: WorkflowClaim) -> dict[str, Any]:
    return {
        "owner": claim.owner,
        "queue": claim.queue,
        "now": claim.now,
        "blocked_before": claim.blocked_before,
        "most_lost_owners": _MANY if claim.suspects else 0,
        **s.pairs(claim.definitions),
    }


def _lease(s: Statements, claim: WorkflowClaim, rows: Rows) -> Transaction[list[WorkflowTask]]:
    runs = [run_state(row) for row in rows]
    lost = {run.run_key for run in runs if run.is_taken_over_by(claim.owner)}
    for run in runs:
        run.lease(claim.owner, claim.lease_expires_at)
    yield from save_leases(s, runs)
    inboxes = yield from _read_inboxes(s, [run.run_key for run in runs if run.has_messages])
    return _tasks(runs, inboxes, lost)


def _tasks(
    runs: Iterable[RunState],
    inboxes: Mapping[RunKey, list[InboxRecord]],
    taken_over: Collection[RunKey],
) -> list[WorkflowTask]:
    return [
        WorkflowTask(
            run.record(),
            run.lease_token,
            inboxes.get(run.run_key, ()),
            owner_lost=run.run_key in taken_over,
        )
        for run in runs
    ]


def save_leases(s: Statements, runs: Iterable[RunState]) -> Transaction[None]:
    """Write what claiming or releasing has changed."""
    leases = [
        (
            *(run.run_key, run.lease_owner, run.lease_expires_at, run.lease_token, run.due_at),
            run.lost_owners,
        )
        for run in runs
    ]
    if leases:
        yield Many(s.runs.save_lease, leases)


def _read_inboxes(
    s: Statements, keys: Sequence[RunKey]
) -> Transaction[dict[RunKey, list[InboxRecord]]]:
    inboxes: dict[RunKey, list[InboxRecord]] = defaultdict(list)
    if keys:
        rows = yield Query(s.history.read_inboxes, {"keys": s.array(keys)})
        for row in rows:
            inboxes[row[0]].append(inbox_record(row))
    return inboxes


# --- activity tasks ------------------------------------------------------------------------------


def look_for_tasks(s: Statements, claim: ActivityClaim) -> Transaction[Outlook]:
    """When tasks that the claim would match are due."""
    parameters = {**_task_parameters(s, claim), "limit": claim.limit + 1}
    rows = yield Query(s.tasks.look_for_due, parameters)
    return Outlook([due_at for (due_at,) in rows if _is_moment(due_at)], claim.now)


def claim_tasks(s: Statements, claim: ActivityClaim) -> Transaction[list[ActivityTask]]:
    """Take tasks that are due, oldest due first."""
    rows = yield Query(s.tasks.claim_due, _task_parameters(s, claim))
    columns = len(TASK_STATE)
    tasks = [TaskState(*row[:columns]) for row in rows]
    for task in tasks:
        task.lease(claim.owner, claim.lease_expires_at)
    if tasks:
        yield Many(s.tasks.save, [task.row() for task in tasks])
    return [_activity_task(task, row[columns:]) for task, row in zip(tasks, rows, strict=True)]


async def claim_tasks_at_once(database: Database, claim: ActivityClaim) -> ActivityTasks:
    """The same on Postgres, with the look before it, in one statement."""
    s, at_once = database.statements, database.statements.task_claims_at_once
    assert at_once is not None
    lease = {"owner": claim.owner, "lease_expires_at": claim.lease_expires_at}
    rows = await database.write_at_once(
        Query(at_once.lease_due, _task_parameters(s, claim) | lease)
    )
    next_due_at, due_beyond, *_ = rows[0]
    first, told = len(TASK_OUTLOOK), len(TASK_OUTLOOK) + len(TASK_STATE)
    tasks = [
        _activity_task(TaskState(*row[first:told]), row[told:])
        for row in rows
        if row[first] is not None
    ]
    return ActivityTasks(tasks, next_due_at if len(tasks) < claim.limit else due_beyond)


def _task_parameters(s: Statements, claim: ActivityClaim) -> dict[str, Any]:
    return {
        "queue": claim.queue,
        "names": s.array(claim.names),
        "now": claim.now,
        "limit": claim.limit,
    }


def _activity_task(task: TaskState, told: Sequence[Any]) -> ActivityTask:
    workflow_id, run_id, *scheduled = told
    return ActivityTask(
        run_key=task.run_key,
        workflow_id=workflow_id,
        run_id=run_id,
        activity_id=task.activity_id,
        attempt=task.attempt,
        failures=task.failures,
        token=task.lease_token,
        scheduled=event_record(scheduled),
        last_failure=task.last_failure,
        details=task.details,
        parked_until=task.parked_until,
    )
