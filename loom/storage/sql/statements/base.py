"""What every set of statements is made with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    LargeBinary,
    Table,
    Text,
    bindparam,
    update,
)

from loom.storage.sql.dialects import RowsStatement, SqlDialect, SqlType


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
