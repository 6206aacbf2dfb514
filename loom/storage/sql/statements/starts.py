"""Runs that are started for themselves alone: all that belongs to them in one statement."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from sqlalchemy import CTE, BigInteger, FromClause, Insert, Table, func, insert, select

from loom.storage.sql.dialects import PostgresDialect, SqlType, Statement
from loom.storage.sql.schema import events, inbox, tasks, workflows
from loom.storage.sql.statements.base import StatementSet, types_of
from loom.storage.sql.statements.runs import RUN_STATE

_run: Final = workflows.c


class StartsAtOnce(StatementSet):
    """A statement that is a transaction by itself, for Postgres."""

    dialect: PostgresDialect

    @cached_property
    def write(self) -> Statement:
        """Given rows of ``runs`` without keys, and of ``events``, ``tasks`` and messages of their
        ``inbox`` with run ids in the place of keys. The runs that are in nobody's way are inserted
        with what belongs to them, and come back with the keys that they were given."""
        belonging = {table.name: table for table in (events, tasks, inbox)}
        tables = {"runs": types_of(RUN_STATE[1:])}
        tables |= {name: _by_run_id(table) for name, table in belonging.items()}
        given = {name: self.dialect.table(name, columns) for name, columns in tables.items()}
        runs = self.dialect.insert_rows(workflows, dict(given["runs"].c.items()))
        inserted = (
            runs.on_conflict_do_nothing().returning(_run.run_id, _run.run_key).cte("inserted")
        )
        parts = (_insert(table, given[name], inserted) for name, table in belonging.items())
        query = select(inserted.c.run_id, inserted.c.run_key)
        return self.dialect.compile_tables(query.add_cte(*(part.cte() for part in parts)), tables)


def _by_run_id(table: Table) -> dict[str, SqlType]:
    """A table's columns, with the run's id in the place of its key."""
    return types_of([_run.run_id, *list(table.columns)[1:]])


def _insert(table: Table, rows: FromClause, inserted: CTE) -> Insert:
    names = [column.name for column in table.columns]
    keys = select(func.jsonb_object_agg(inserted.c.run_id, inserted.c.run_key)).scalar_subquery()
    # Looked up, since as a join it would take as many comparisons as there are pairs of rows.
    run_key = keys.op("->>")(rows.c.run_id).cast(BigInteger)
    values = select(run_key, *(rows.c[name] for name in names[1:]))
    return insert(table).from_select(names, values.where(run_key.is_not(None)))
