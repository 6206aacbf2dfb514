"""Messages to runs that begin their chains, each to another: delivered in one statement."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    Text,
    and_,
    case,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    union_all,
    update,
)

from loom.storage.sql.dialects import PostgresDialect, SqlType, Statement
from loom.storage.sql.schema import answers, events, inbox, workflows
from loom.storage.sql.statements.base import (
    StatementSet,
    are_locked,
    is_open,
    materialized,
    types_of,
)

_run: Final = workflows.c
CONTENT: Final = list(inbox.columns)[2:]
"""A message's id, and what it carries."""

MESSAGE_ROW: Final[dict[str, SqlType]] = {
    "workflow_id": Text(),
    "run_id": Text(),
    "sent_at": BigInteger(),
    "is_urgent": BigInteger(),
    **types_of(CONTENT),
}


class MessagesAtOnce(StatementSet):
    """A statement that is a transaction by itself, for Postgres.

    What it knows of its runs is from before it locked them. A run that has been given a message
    since, perhaps this very one, is left alone: that shows in the number of its messages.
    """

    dialect: PostgresDialect

    @cached_property
    def write(self) -> Statement:
        """Given rows of ``messages``, no two with the same workflow id; the workflow ids of those
        that are delivered come back."""
        messages = self.dialect.table("messages", MESSAGE_ROW)
        found = _found(messages)
        counted = _counted(found)
        names = [column.name for column in inbox.columns]
        content = [counted.c[name] for name in names[2:]]
        told = select(counted.c.run_key, counted.c.inbox_count, *content)
        put = insert(inbox).from_select(names, told).cte("put")
        query = select(counted.c.workflow_id).add_cte(put)
        return self.dialect.compile_tables(query, {"messages": MESSAGE_ROW})


def _found(messages: FromClause) -> CTE:
    """Messages with the open runs that they are for, but those that have them already."""
    is_alone, is_same = _run.first_run_id.is_(None), _run.workflow_id == messages.c.workflow_id
    # One way at a time, each with an index of its own.
    by_id = and_(messages.c.run_id.is_(None), is_same, _run.closed_at.is_(None))
    by_run = and_(_run.run_id == messages.c.run_id, is_same, is_open())
    columns = *messages.c, _run.run_key, _run.inbox_count
    both = union_all(*(select(*columns).where(is_alone, way) for way in (by_id, by_run)))
    found = both.subquery("addressed")
    taken = (_is_in(table, found) for table in (inbox, events, answers))
    return materialized(select(*found.c).where(*(~each for each in taken)), "found")


def _is_in(table: FromClause, found: FromClause) -> ColumnElement[bool]:
    same = table.c.run_key == found.c.run_key, table.c.message_id == found.c.message_id
    return exists(select(literal_column("1")).select_from(table).where(*same))


def _counted(found: CTE) -> CTE:
    """Runs with their messages counted in, as ``RunState.receive`` does."""
    in_locked_runs = (
        select(*found.c)
        .where(_run.run_key == found.c.run_key)
        .order_by(_run.run_key)
        .with_for_update(of=workflows)
        .cte("in_locked_runs")
    )
    message = in_locked_runs.c
    is_unchanged = and_(
        _run.run_key == message.run_key,
        is_open(),
        _run.inbox_count == message.inbox_count,
    )
    begins_at = not_before_start(message.sent_at)
    wanted_at = case((message.is_urgent == literal_column("1"), message.sent_at), else_=begins_at)
    told = message.workflow_id, *(message[column.name] for column in CONTENT)
    counted = update(workflows).where(is_unchanged, are_locked(in_locked_runs))
    counted = counted.values(counted_in(wanted_at))
    return counted.returning(_run.run_key, _run.inbox_count, *told).cte("counted")


def not_before_start(moment: ColumnElement[int]) -> ColumnElement[int]:
    """That moment, or when the run is to begin."""
    # Of these functions' arguments those that are NULL do not count.
    return func.greatest(moment, _run.start_at)


def counted_in(wanted_at: ColumnElement[int]) -> dict[Any, Any]:
    """What a message changes in the row of its run, which it makes due then."""
    is_heeded = or_(_run.lease_owner.is_not(None), _run.status != literal_column("'BLOCKED'"))
    return {
        _run.inbox_count: _run.inbox_count + literal_column("1"),
        _run.due_at: case((is_heeded, func.least(_run.due_at, wanted_at)), else_=_run.due_at),
    }
