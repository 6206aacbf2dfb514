"""Extending and releasing leases."""

from __future__ import annotations

from loom.identifiers import Micros, WorkerId
from loom.storage.records import Leases, TaskLease
from loom.storage.sql.changes import TaskKey
from loom.storage.sql.claims import save_leases
from loom.storage.sql.locks import lock_runs, lock_tasks
from loom.storage.sql.rows import RunState, TaskState
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Many, Query, Transaction


def extend_leases(
    s: Statements, leases: Leases, owner: WorkerId, expires_at: Micros
) -> Transaction[Leases]:
    """Move the expiry of what the owner holds; returns what it does not hold any more."""
    runs, tasks = yield from _lock(s, leases)
    held_runs = {
        lease for lease in leases.runs if _holds(runs.get(lease.run_key), lease.token, owner)
    }
    held_tasks = {
        lease for lease in leases.tasks if _holds(tasks.get(_task_key(lease)), lease.token, owner)
    }
    if held_runs:
        keys = s.array(sorted(lease.run_key for lease in held_runs))
        yield Query(s.runs.extend_leases, {"keys": keys, "expires_at": expires_at})
    extended = [tasks[_task_key(lease)] for lease in held_tasks]
    for task in extended:
        task.extend(owner, expires_at)
    yield from _save_tasks(s, extended)
    return Leases(
        [lease for lease in leases.runs if lease not in held_runs],
        [lease for lease in leases.tasks if lease not in held_tasks],
    )


def release_leases(s: Statements, leases: Leases, now: Micros) -> Transaction[None]:
    """Give back what is still held."""
    runs, tasks = yield from _lock(s, leases)
    released_runs, released_tasks = [], []
    for lease in leases.runs:
        if (run := runs.get(lease.run_key)) and _holds(run, lease.token):
            run.give_back(now)
            released_runs.append(run)
    for task_lease in leases.tasks:
        if (task := tasks.get(_task_key(task_lease))) and _holds(task, task_lease.token):
            task.give_back(now)
            released_tasks.append(task)
    yield from save_leases(s, released_runs)
    yield from _save_tasks(s, released_tasks)


def _lock(
    s: Statements, leases: Leases
) -> Transaction[tuple[dict[int, RunState], dict[TaskKey, TaskState]]]:
    runs = yield from lock_runs(s, {lease.run_key for lease in leases.runs})
    tasks = yield from lock_tasks(s, (_task_key(lease) for lease in leases.tasks))
    return {run.run_key: run for run in runs}, tasks


def _task_key(lease: TaskLease) -> TaskKey:
    return lease.run_key, lease.activity_id


def _holds(row: RunState | TaskState | None, token: int, owner: WorkerId | None = None) -> bool:
    if row is None or row.lease_owner is None or row.lease_token != token:
        return False
    return owner is None or row.lease_owner == owner


def _save_tasks(s: Statements, tasks: list[TaskState]) -> Transaction[None]:
    if tasks:
        tasks.sort(key=lambda task: (task.run_key, task.activity_id))
        yield Many(s.tasks.save, [task.row() for task in tasks])
