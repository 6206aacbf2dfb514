"""Activity tasks."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    case,
    delete,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

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


_TOLD: Final = (workflows.c.workflow_id, workflows.c.run_id, *EVENT)
"""What an ``ActivityTask`` tells of the run and of the event that asked for it."""

_NOTHING: Final[ColumnElement[int]] = literal_column("0")
_ONE: Final[ColumnElement[int]] = literal_column("1")

OUTLOOK: Final = ("next_due_at", "due_beyond")
"""When the next task is due that is not yet, and when the one is that the limit leaves out."""


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
        """The columns of ``TASK_STATE``, and then those of ``_TOLD``."""
        return self._compile(self._due(*TASK_STATE, *_TOLD))

    def _due(self, *columns: ColumnElement[Any]) -> Select[Any]:
        """Tasks to be claimed, locked, the oldest due first."""
        run, event = workflows.c, events.c
        is_scheduling = and_(event.run_key == _task.run_key, event.sequence == _task.sequence)
        told = tasks.join(events, is_scheduling).join(workflows, run.run_key == _task.run_key)
        is_due = self._is_meant, self._may_start, _task.due_at <= micros("now")
        query = select(*columns).select_from(told).where(*is_due).limit(micros("limit"))
        ordered = query.order_by(_task.due_at, _task.run_key, _task.activity_id)
        return ordered.with_for_update(of=tasks, skip_locked=True)

    @property
    def _may_start(self) -> Any:
        return or_(_task.start_by.is_(None), _task.start_by > micros("now"))

    @property
    def _is_meant(self) -> Any:
        is_known = self.dialect.any_of(_task.name, "names")
        return and_(_task.queue == text("queue"), is_known, self._can_be_leased)

    @property
    def _can_be_leased(self) -> ColumnElement[bool]:
        parked_until = func.coalesce(_task.parked_until, _NOTHING)
        counted = _task.lease_token, _task.attempt, _task.failures, parked_until
        return self.dialect.are_numbers(*counted)


class TaskClaimsAtOnce(TaskStatements):
    """A statement that is a transaction by itself, for Postgres."""

    @cached_property
    def lease_due(self) -> Statement:
        """What ``claim_due`` finds, with the lease that ``TaskState.lease`` would give; before that
        the columns of ``OUTLOOK``. If there is no task, one row with nothing in its columns."""
        leased = self._leased.cte("leased")
        task = [leased.c[column.name] for column in TASK_STATE]
        told = [leased.c[f"told_{column.name}"] for column in _TOLD]
        outlook = select(*self._outlook).cte("outlook")
        always: ColumnElement[bool] = literal_column("true")
        query = select(*outlook.c, *task, *told)
        query = query.select_from(outlook.outerjoin(leased, always))
        order = leased.c.was_due_at, leased.c.run_key, leased.c.activity_id
        return self._compile(query.order_by(*order))

    @property
    def _leased(self) -> ReturningUpdate[Any]:
        was_due_at = _task.due_at.label("was_due_at")
        told = [column.label(f"told_{column.name}") for column in _TOLD]
        due = self._due(_task.run_key, _task.activity_id, was_due_at, *told).cte("due")
        is_due = _task.run_key == due.c.run_key, _task.activity_id == due.c.activity_id
        is_new = _task.parked_until.is_(None)
        expires_at = micros("lease_expires_at")
        changed: dict[Any, Any] = {
            _task.lease_token: _task.lease_token + _ONE,
            _task.attempt: _task.attempt + case((is_new, _ONE), else_=_NOTHING),
            _task.start_by: null(),
            _task.lease_owner: text("owner"),
            _task.lease_expires_at: expires_at,
            _task.due_at: expires_at,
        }
        return update(tasks).where(*is_due).values(changed).returning(*TASK_STATE, *list(due.c)[2:])

    @property
    def _outlook(self) -> list[ColumnElement[Any]]:
        """The columns of ``OUTLOOK``, from before anything is claimed."""
        query = select(_task.due_at).where(self._is_meant, self._may_start).order_by(_task.due_at)
        soonest = query.limit(micros("limit") + _ONE).cte("soonest")
        moment = soonest.c.due_at
        next_one = select(func.min(moment)).where(moment > micros("now"))
        beyond = select(moment).order_by(moment).offset(micros("limit")).limit(_ONE)
        columns = next_one.scalar_subquery(), beyond.scalar_subquery()
        return [c.label(name) for c, name in zip(columns, OUTLOOK, strict=True)]
