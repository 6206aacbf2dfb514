"""Activity tasks."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from sqlalchemy import BigInteger, and_, delete, or_, select

from loom.storage.sql.dialects import RowsStatement, Statement
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
    def insert(self) -> RowsStatement:
        return self._insert(tasks)

    @cached_property
    def delete(self) -> RowsStatement:
        """Rows of a run's key and an activity id."""
        columns = {"key": BigInteger(), "id": BigInteger()}
        values = self.dialect.values(columns)
        is_named = _task.run_key == values["key"], _task.activity_id == values["id"]
        query = delete(tasks).where(*is_named)
        if self.dialect.locks_rows:
            # Others lock tasks without holding their runs, and all do so in one order.
            named = select(_task.run_key, _task.activity_id).where(*is_named)
            ordered = named.order_by(_task.run_key, _task.activity_id)
            locked = ordered.with_for_update(of=tasks).cte("locked").c
            is_locked = _task.run_key == locked.run_key, _task.activity_id == locked.activity_id
            query = delete(tasks).where(*is_locked)
        return self.dialect.compile_rows(query, columns)

    @cached_property
    def save(self) -> RowsStatement:
        """Rows of ``TaskState``."""
        return self._update(tasks, TASK_STATE[:2], TASK_STATE[2:])

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
