"""Histories, logs and inboxes."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    and_,
    delete,
    select,
    union_all,
)

from loom.storage.sql.dialects import RowsStatement, Statement
from loom.storage.sql.schema import answers, events, inbox, logs, workflows
from loom.storage.sql.statements.base import StatementSet, micros, text, types_of
from loom.storage.sql.statements.tasks import EVENT

_message: Final = inbox.c
_answer: Final = answers.c

INBOX: Final = list(inbox.columns)
"""A run's key, and the columns of an ``InboxRecord``."""


class HistoryStatements(StatementSet):
    """Statements on what happened to runs, and on what is about to."""

    @cached_property
    def insert_event(self) -> RowsStatement:
        return self._insert(events)

    @cached_property
    def insert_log(self) -> RowsStatement:
        return self._insert(logs)

    @cached_property
    def insert_message(self) -> RowsStatement:
        return self._insert(inbox)

    @cached_property
    def read_events(self) -> Statement:
        return self._page(EVENT, events.c.run_key, events.c.sequence)

    @cached_property
    def read_beginnings(self) -> Statement:
        """A run's key, and the columns of an ``EventRecord``."""
        event = events.c
        is_meant = self._any_key(events), event.sequence <= micros("through")
        query = select(event.run_key, *EVENT).where(*is_meant)
        return self._compile(query.order_by(event.run_key, event.sequence))

    @cached_property
    def read_logs(self) -> Statement:
        return self._page(list(logs.columns)[1:], logs.c.run_key, logs.c.position)

    def _page(self, columns: list[Column[Any]], key: Column[int], order: Column[int]) -> Statement:
        query = select(*columns).where(key == micros("key"), order > micros("after"))
        return self._compile(query.order_by(order).limit(micros("limit")))

    @cached_property
    def read_inboxes(self) -> Statement:
        query = select(*INBOX).where(self._any_key(inbox))
        return self._compile(query.order_by(_message.run_key, _message.position))

    @cached_property
    def consume(self) -> RowsStatement:
        """Rows of a run's key, and the position through which it has taken messages."""
        columns = {"key": BigInteger(), "through": BigInteger()}
        values = self.dialect.values(columns)
        query = delete(inbox).where(
            _message.run_key == values["key"], _message.position <= values["through"]
        )
        return self.dialect.compile_rows(query, columns)

    @cached_property
    def find_taken(self) -> Statement:
        """Which of the named pairs of a run's key and a message id were delivered already: they
        are in the run's inbox or in its history, or were answered."""
        pairs = self.dialect.pairs(int, str)
        taken = (_taken(pairs, table) for table in (inbox, events, answers))
        return self._compile(union_all(*taken))

    @cached_property
    def insert_answer(self) -> RowsStatement:
        # A turn without events has no sequence that would fence its repetition.
        columns = types_of(answers.columns)
        query = self.dialect.insert_rows(answers, self.dialect.values(columns))
        return self.dialect.compile_rows(query.on_conflict_do_nothing(), columns)

    @cached_property
    def find_answer(self) -> Statement:
        """The columns of an ``Arrival``, in its order."""
        run, chain = workflows.c, text("chain")
        by_first = _answered(and_(run.run_id == chain, run.first_run_id.is_(None)))
        # The other condition is implied; SQLite wants it said before it uses the partial index.
        by_others = _answered(and_(run.first_run_id == chain, run.first_run_id.is_not(None)))
        return self._compile(union_all(by_first, by_others))

    @cached_property
    def find_taken_by_chain(self) -> Statement:
        """Which of the named pairs of a chain's first run and a message id were taken by any run
        of the chain."""
        pairs = self.dialect.pairs(str, str)
        chains = workflows.c.run_id, workflows.c.first_run_id
        taken = (_taken_by_chain(pairs, c, table) for c in chains for table in (events, answers))
        return self._compile(union_all(*taken))


def _answered(is_of_chain: ColumnElement[bool]) -> Select[Any]:
    query = select(_answer.type, _answer.schema_version, _answer.attributes, _answer.payload)
    given = query.select_from(workflows.join(answers, workflows.c.run_key == _answer.run_key))
    return given.where(is_of_chain, _answer.message_id == text("message_id"))


def _taken_by_chain(
    pairs: FromClause, chain: ColumnElement[str | None], table: FromClause
) -> Select[Any]:
    of_chain = and_(chain == pairs.c.first, chain.is_not(None))
    key, message_id = table.c.run_key, table.c.message_id
    is_named = and_(key == workflows.c.run_key, message_id == pairs.c.second)
    runs = pairs.join(workflows, of_chain)
    return (
        select(pairs.c.first, message_id)
        .select_from(runs.join(table, is_named))
        .where(message_id.is_not(None))
    )


def _taken(pairs: FromClause, table: FromClause) -> Select[Any]:
    key, message_id = table.c.run_key, table.c.message_id
    is_named = and_(key == pairs.c.first, message_id == pairs.c.second)
    # The other condition is implied; SQLite wants it said before it uses the partial index.
    return (
        select(key, message_id)
        .select_from(pairs.join(table, is_named))
        .where(message_id.is_not(None))
    )
