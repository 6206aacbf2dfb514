"""What every set of statements is made with."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Table, Text, bindparam

from loom.storage.sql.dialects import SqlDialect, Statement


def micros(name: str) -> ColumnElement[int]:
    return bindparam(name, type_=BigInteger())


def text(name: str) -> ColumnElement[str]:
    return bindparam(name, type_=Text())


class StatementSet:
    """Statements that belong together, in one dialect."""

    def __init__(self, dialect: SqlDialect) -> None:
        self.dialect = dialect
        self._compile = dialect.compile

    def _any_key(self, table: Table) -> ColumnElement[bool]:
        """Whether a row belongs to one of the runs in the array ``keys``."""
        return self.dialect.any_of(table.c.run_key, "keys")

    def _insert(self, table: Table) -> Statement:
        """A whole row, each column from the parameter of its name."""
        values: dict[str, BindParameter[Any]] = {c.name: bindparam(c.name) for c in table.columns}
        return self._compile(table.insert().values(values))
