"""Activity tasks."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from sqlalchemy import Column, and_, bindparam, delete, or_, select, update

from loom.storage.sql.dialects import Statement
from loom.storage.sql.schema import events, tasks, workflows
from loom.storage.sql.statements.base import StatementSet, micros, text

_task: Final = tasks.c

TASK_STATE: Final = (
    _task.run_key,
    _task.activity_id,
    _task.lease_token,
    _task.lease_owner,
    _task.lease_expires_at,
    _task.attempt,
    _task.failures,
    _task.available_at,
    _task.due_at,
    _task.last_failure,
    _task.details,
    _task.start_by,
    _task.parked_until,
)
"""The columns of a ``TaskState``, in its order."""

EVENT: Final = list(events.columns)[1:]
"""The columns of an ``EventRecord``, in its order."""


class TaskStatements(StatementSet):
    """Statements on the table of activity tasks."""

    @cached_property
    def insert(self) -> Statement:
        return self._insert(tasks)

    @cached_property
    def delete(self) -> Statement:
        return self._compile(delete(tasks).where(*self._is_that_task))

    @cached_property
    def save(self) -> Statement:
        columns: tuple[Column[Any], ...] = TASK_STATE[2:]
        query = update(tasks).where(*self._is_that_task)
        return self._compile(query.values({column: bindparam(column.name) for column in columns}))

    @property
    def _is_that_task(self) -> tuple[Any, Any]:
        return _task.run_key == micros("key"), _task.activity_id == micros("id")

    @cached_property
    def lock(self) -> Statement:
        """The tasks named by pairs of a run's key and an activity id."""
        pairs = self.dialect.pairs(int, int)
        is_named = and_(_task.run_key == pairs.c.first, _task.activity_id == pairs.c.second)
        query = select(*TASK_STATE).select_from(pairs.join(tasks, is_named))
        ordered = query.order_by(_task.run_key, _task.activity_id)
        return self._compile(ordered.with_for_update(of=tasks))

    @cached_property
    def of_runs(self) -> Statement:
        query = select(_task.run_key, _task.activity_id).where(self._any_key(tasks))
        return self._compile(query)

    @cached_property
    def list(self) -> Statement:
        """The columns of ``PendingTask``, in its order."""
        query = select(
            _task.activity_id,
            _task.name,
            _task.queue,
            _task.attempt,
            _task.failures,
            _task.available_at,
            _task.lease_owner,
            _task.lease_expires_at,
            _task.last_failure,
            _task.details,
            _task.start_by,
            _task.parked_until,
        )
        mine = query.where(_task.run_key == micros("key"))
        return self._compile(mine.order_by(_task.activity_id))

    # --- claims ----------------------------------------------------------------------------------

    @cached_property
    def look_for_due(self) -> Statement:
        query = select(_task.due_at).where(self._is_meant, self._may_start)
        query = query.order_by(_task.due_at)
        return self._compile(query.limit(micros("limit")))

    @cached_property
    def claim_due(self) -> Statement:
        """With what an ``ActivityTask`` tells of the run and of the event that asked for it."""
        run, event = workflows.c, events.c
        is_scheduling = and_(event.run_key == _task.run_key, event.sequence == _task.sequence)
        told = tasks.join(events, is_scheduling).join(workflows, run.run_key == _task.run_key)
        query = select(*TASK_STATE, run.workflow_id, run.run_id, *EVENT).select_from(told)
        due = query.where(self._is_meant, self._may_start, _task.due_at <= micros("now"))
        ordered = due.order_by(_task.due_at, _task.run_key, _task.activity_id)
        limited = ordered.limit(micros("limit"))
        return self._compile(limited.with_for_update(of=tasks, skip_locked=True))

    @property
    def _may_start(self) -> Any:
        return or_(_task.start_by.is_(None), _task.start_by > micros("now"))

    @property
    def _is_meant(self) -> Any:
        return and_(_task.queue == text("queue"), self.dialect.any_of(_task.name, "names"))
