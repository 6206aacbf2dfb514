"""Turns that change nothing but their own run: written without being looked up first."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    CTE,
    BigInteger,
    Case,
    ColumnElement,
    Delete,
    FromClause,
    Insert,
    Select,
    Table,
    Text,
    Update,
    and_,
    case,
    delete,
    insert,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)

from loom.storage.sql.dialects import PostgresDialect, RowsStatement, SqlType, Statement, Values
from loom.storage.sql.schema import events, inbox, tasks, workflows
from loom.storage.sql.statements.base import (
    StatementSet,
    are_locked,
    is_open,
    materialized,
    types_of,
)

_run: Final = workflows.c
_task: Final = tasks.c

TURN_ROW: Final[dict[str, SqlType]] = {
    "key": BigInteger(),
    "token": BigInteger(),
    "expected": BigInteger(),
    "consumed": BigInteger(),
    "status": Text(),
    "sequence": BigInteger(),
    "updated_at": BigInteger(),
    "closed_at": BigInteger(),
    "wake_at": BigInteger(),
    "blocked_reason": Text(),
    "lease_owner": Text(),
    "lease_expires_at": BigInteger(),
}
"""A turn's fence, and what it makes of its run's row."""

ENDED_ROW: Final[dict[str, SqlType]] = {
    "run_key": BigInteger(),
    "first_id": BigInteger(),
    "last_id": BigInteger(),
}
"""Activities of a run that need their tasks no more, by their ids from the first to the last."""


class TurnStatements(StatementSet):
    """What ``RunState.apply`` does to a run, done by the database."""

    @cached_property
    def save(self) -> RowsStatement:
        """Rows of ``TURN_ROW``. A run whose fence does not hold is left as it is."""
        return self.dialect.compile_rows(_save(self.dialect.values(TURN_ROW)), TURN_ROW)

    @cached_property
    def end_tasks(self) -> RowsStatement:
        """Rows of a run's key alone, all of whose tasks go."""
        columns = types_of([_task.run_key])
        values = self.dialect.values(columns)
        query = delete(tasks).where(_task.run_key == values["run_key"])
        return self.dialect.compile_rows(query, columns)


def _save(turn: Values) -> Update:
    consumed = _later(turn["consumed"], _run.inbox_consumed)
    has_messages = _run.inbox_count > consumed
    is_closed = turn["closed_at"].is_not(None)
    is_fenced = and_(
        _run.run_key == turn["key"],
        _run.lease_token == turn["token"],
        _run.sequence == turn["expected"],
        is_open(),
        # What has just come into the inbox of a run that ends may not be visible to us yet.
        or_(turn["closed_at"].is_(None), ~has_messages),
    )
    changed: dict[Any, Any] = {_run[name]: turn[name] for name in list(TURN_ROW)[4:]}
    changed[_run.inbox_consumed] = consumed
    is_blocked = turn["status"] == literal_column("'BLOCKED'")
    changed[_run.lost_owners] = case((is_blocked, _run.lost_owners), else_=literal_column("0"))
    changed[_run.due_at] = case(
        (is_closed, null()),
        (turn["lease_expires_at"].is_not(None), _due_when_kept(turn, has_messages)),
        else_=_due_when_given_back(turn, has_messages),
    )
    return update(workflows).where(is_fenced).values(changed)


def _due_when_kept(turn: Values, has_messages: ColumnElement[bool]) -> Case[Any]:
    now, expires_at = turn["updated_at"], turn["lease_expires_at"]
    may_stay = and_(_run.due_at > now, _run.due_at <= expires_at)
    return case((has_messages, now), (may_stay, _run.due_at), else_=expires_at)


def _due_when_given_back(turn: Values, has_messages: ColumnElement[bool]) -> Case[Any]:
    heeds_messages = turn["status"] != literal_column("'BLOCKED'")
    begins_at = _later(_run.start_at, turn["updated_at"])
    return case((and_(has_messages, heeds_messages), begins_at), else_=turn["wake_at"])


def _later(one: ColumnElement[Any], other: ColumnElement[Any]) -> Case[Any]:
    """The first when it is the greater one, else the second; the first may be NULL."""
    return case((one > other, one), else_=other)


# --- all in one ----------------------------------------------------------------------------------


class TurnsAtOnce(StatementSet):
    """The same as a single statement, which is a transaction by itself, for Postgres.

    Its parts see the database as it was when it began, but each row as it is when it is locked: so
    fences hold, and what others have put into an inbox since counts.

    For a row that has changed in between, Postgres looks again at the conditions under which it is
    locked or written. What a part that writes has returned is then known only where it is joined
    directly: within a UNION or another query it seems to be empty, and the row would be left out.
    """

    dialect: PostgresDialect

    @cached_property
    def write(self) -> Statement:
        """Given rows of ``turns``, ``events``, ``ended`` activities and new ``tasks``; the keys of
        the runs whose turns are written come back."""
        tables = {
            "turns": TURN_ROW,
            "events": types_of(events.columns),
            "ended": ENDED_ROW,
            "tasks": types_of(tasks.columns),
        }
        given = {name: self.dialect.table(name, columns) for name, columns in tables.items()}
        saved = _saved(_locked(given["turns"]))
        ended = materialized(_of_saved(given["ended"], saved), "ended_now")
        parts = (
            _insert(events, _of_saved(given["events"], saved)).cte("appended"),
            _insert(tasks, _of_saved(given["tasks"], saved)).cte("added"),
            _delete_tasks(ended).cte("removed"),
            _empty_inboxes(saved).cte("emptied"),
        )
        return self.dialect.compile_tables(select(saved.c.run_key).add_cte(*parts), tables)


def _locked(turns: FromClause) -> CTE:
    """Turns whose runs are there, and locked."""
    return (
        select(*turns.c)
        .where(_run.run_key == turns.c.key)
        .order_by(_run.run_key)
        .with_for_update(of=workflows)
        .cte("locked")
    )


def _saved(turns: CTE) -> CTE:
    query = _save(dict(turns.c.items())).where(are_locked(turns))
    return query.returning(_run.run_key, turns.c.consumed).cte("saved")


def _of_saved(rows: FromClause, saved: CTE) -> Select[Any]:
    is_saved = rows.c.run_key.in_(select(saved.c.run_key))
    # As a truth value it is looked up in a hash table; otherwise it would be a join.
    return select(*rows.c).where(is_saved.is_(true()))


def _insert(table: Table, rows: Select[Any]) -> Insert:
    return insert(table).from_select(list(rows.selected_columns.keys()), rows)


def _delete_tasks(ended: CTE) -> Delete:
    # Others lock tasks without holding their runs: all runs first, and then tasks in one order.
    doomed = (
        select(_task.run_key, _task.activity_id)
        .where(
            _task.run_key == ended.c.run_key,
            _task.activity_id >= ended.c.first_id,
            _task.activity_id <= ended.c.last_id,
        )
        .order_by(_task.run_key, _task.activity_id)
        .with_for_update(of=tasks)
        .cte("doomed")
    )
    return delete(tasks).where(
        _task.run_key == doomed.c.run_key, _task.activity_id == doomed.c.activity_id
    )


def _empty_inboxes(saved: CTE) -> Delete:
    return delete(inbox).where(
        inbox.c.run_key == saved.c.run_key, inbox.c.position <= saved.c.consumed
    )
