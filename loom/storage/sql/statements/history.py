"""Histories, logs and inboxes."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, FromClause, Select, and_, delete, select, union_all

from loom.storage.sql.dialects import Statement
from loom.storage.sql.schema import events, inbox, logs, workflows
from loom.storage.sql.statements.base import StatementSet, micros
from loom.storage.sql.statements.tasks import EVENT

_message: Final = inbox.c

INBOX: Final = list(inbox.columns)
"""A run's key, and the columns of an ``InboxRecord``."""


class HistoryStatements(StatementSet):
    """Statements on what happened to runs, and on what is about to."""

    @cached_property
    def insert_event(self) -> Statement:
        return self._insert(events)

    @cached_property
    def insert_log(self) -> Statement:
        return self._insert(logs)

    @cached_property
    def insert_message(self) -> Statement:
        return self._insert(inbox)

    @cached_property
    def read_events(self) -> Statement:
        return self._page(EVENT, events.c.run_key, events.c.sequence)

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
    def consume(self) -> Statement:
        query = delete(inbox).where(
            _message.run_key == micros("key"), _message.position <= micros("through")
        )
        return self._compile(query)

    @cached_property
    def find_taken(self) -> Statement:
        """Which of the named pairs of a run's key and a message id were delivered already: they
        are in the run's inbox, or in its history."""
        pairs = self.dialect.pairs(int, str)
        return self._compile(union_all(_taken(pairs, inbox), _taken(pairs, events)))

    @cached_property
    def find_taken_by_chain(self) -> Statement:
        """Which of the named pairs of a chain's first run and a message id were taken by any run
        of the chain."""
        pairs = self.dialect.pairs(str, str)
        by_first = _taken_by_chain(pairs, workflows.c.run_id)
        by_others = _taken_by_chain(pairs, workflows.c.first_run_id)
        return self._compile(union_all(by_first, by_others))


def _taken_by_chain(pairs: FromClause, chain: ColumnElement[str | None]) -> Select[Any]:
    of_chain = and_(chain == pairs.c.first, chain.is_not(None))
    key, message_id = events.c.run_key, events.c.message_id
    is_named = and_(key == workflows.c.run_key, message_id == pairs.c.second)
    runs = pairs.join(workflows, of_chain)
    return (
        select(pairs.c.first, message_id)
        .select_from(runs.join(events, is_named))
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
