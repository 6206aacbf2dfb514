"""Ends of attempts, each of another run, that its run is told of: all of it in one statement."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from sqlalchemy import (
    CTE,
    BigInteger,
    FromClause,
    and_,
    delete,
    insert,
    or_,
    select,
    update,
)

from loom.storage.sql.dialects import PostgresDialect, SqlType, Statement
from loom.storage.sql.schema import inbox, tasks, workflows
from loom.storage.sql.statements.base import StatementSet, are_locked, is_open, types_of
from loom.storage.sql.statements.messages import CONTENT, counted_in, not_before_start

_run: Final = workflows.c
_task: Final = tasks.c

COMPLETION_ROW: Final[dict[str, SqlType]] = {
    "run_key": BigInteger(),
    "activity_id": BigInteger(),
    "token": BigInteger(),
    "ended_at": BigInteger(),
    **types_of(CONTENT),
}


class CompletionsAtOnce(StatementSet):
    """A statement that is a transaction by itself, for Postgres."""

    dialect: PostgresDialect

    @cached_property
    def write(self) -> Statement:
        """Given rows of ``ends``, no two of the same run; the tasks whose ends are written come
        back."""
        gone = _gone(_under_way(self.dialect.table("ends", COMPLETION_ROW)))
        content = [gone.c[column.name] for column in CONTENT]
        counted = (
            update(workflows)
            .where(_run.run_key == gone.c.run_key, is_open())
            .values(counted_in(not_before_start(gone.c.ended_at)))
            .returning(_run.run_key, _run.inbox_count, *content)
            .cte("counted")
        )
        put = insert(inbox).from_select([column.name for column in inbox.columns], counted.select())
        query = select(gone.c.run_key, gone.c.activity_id).add_cte(put.cte("put"))
        return self.dialect.compile_tables(query, {"ends": COMPLETION_ROW})


def _under_way(ends: FromClause) -> CTE:
    """Ends of attempts that are under way, with their tasks locked after all of their runs, as
    others do."""
    in_locked_runs = (
        select(*ends.c)
        .where(_run.run_key == ends.c.run_key)
        .order_by(_run.run_key)
        .with_for_update(of=workflows)
        .cte("in_locked_runs")
    )
    ends = in_locked_runs
    is_under_way = and_(
        _task.run_key == ends.c.run_key,
        _task.activity_id == ends.c.activity_id,
        _task.lease_token == ends.c.token,
        or_(_task.lease_owner.is_not(None), _task.parked_until.is_not(None)),
    )
    return (
        select(*ends.c)
        .where(is_under_way, are_locked(in_locked_runs))
        .order_by(_task.run_key, _task.activity_id)
        .with_for_update(of=tasks)
        .cte("under_way")
    )


def _gone(ends: CTE) -> CTE:
    """The same, without their tasks."""
    is_its_task = _task.run_key == ends.c.run_key, _task.activity_id == ends.c.activity_id
    return delete(tasks).where(*is_its_task).returning(*ends.c).cte("gone")
