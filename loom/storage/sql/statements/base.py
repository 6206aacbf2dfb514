"""What every set of statements is made with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    Table,
    Text,
    bindparam,
    func,
    literal_column,
    select,
    update,
)

from loom.storage.sql.dialects import RowsStatement, SqlDialect, SqlType
from loom.storage.sql.schema import workflows


def micros(name: str) -> ColumnElement[int]:
    return bindparam(name, type_=BigInteger())


def text(name: str) -> ColumnElement[str]:
    return bindparam(name, type_=Text())


def is_open() -> ColumnElement[bool]:
    """Whether a run is open that something else than that finds: with an expression for which no
    index is there, since a database may take the index of open runs for a short one."""
    return func.coalesce(workflows.c.closed_at, literal_column("0")) == literal_column("0")


def materialized(query: Select[Any], name: str) -> CTE:
    """A part that is worked out once by itself, also where a statement looks at a row again."""
    return query.cte(name).prefix_with("MATERIALIZED")


def are_locked(locked: CTE) -> ColumnElement[bool]:
    """Whether there are rows that a part of the statement locks: known only when it has locked all
    of them. Whoever changed the first before the last was locked would wait with it, while others
    wait for its workflow id who may hold that last one."""
    number = select(func.count()).select_from(locked).scalar_subquery()
    return number > literal_column("0")


class StatementSet:
    """Statements that belong together, in one dialect."""

    def __init__(self, dialect: SqlDialect) -> None:
        self.dialect = dialect
        self._compile = dialect.compile

    def _any_key(self, table: Table) -> ColumnElement[bool]:
        """Whether a row belongs to one of the runs in the array ``keys``."""
        return self.dialect.any_of(table.c.run_key, "keys")

    def _insert(self, table: Table) -> RowsStatement:
        """Whole rows, in the order of the table's columns."""
        columns = types_of(table.columns)
        query = self.dialect.insert_rows(table, self.dialect.values(columns))
        return self.dialect.compile_rows(query, columns)

    def _update(
        self, table: Table, keys: Iterable[Column[Any]], columns: Iterable[Column[Any]]
    ) -> RowsStatement:
        """Rows of keys, by which those of the table are found, and then what is put into them."""
        keys, columns = list(keys), list(columns)
        found_by = {f"{key.name}_": _type_of(key) for key in keys}
        given = found_by | types_of(columns)
        values = self.dialect.values(given)
        is_meant = [key == values[f"{key.name}_"] for key in keys]
        query = update(table).where(*is_meant).values({c: values[c.name] for c in columns})
        return self.dialect.compile_rows(query, given)


_TYPES: Final = (LargeBinary, Text, BigInteger, Integer)


def types_of(columns: Iterable[Column[Any]]) -> dict[str, SqlType]:
    """The types of columns by their names, without what only their table knows of them."""
    return {column.name: _type_of(column) for column in columns}


def _type_of(column: Column[Any]) -> SqlType:
    return next(type_() for type_ in _TYPES if isinstance(column.type, type_))
