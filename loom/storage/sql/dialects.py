"""Where the two databases speak differently, and how a statement becomes text, once.

Statements are SQLAlchemy Core constructs. Each is compiled the first time it is used, to the
driver's own SQL and the order of its parameters, and from then on only text and tuples travel.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Column,
    ColumnElement,
    Dialect,
    FromClause,
    Integer,
    LargeBinary,
    Table,
    Text,
    and_,
    bindparam,
    column,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.dialects.sqlite.aiosqlite import dialect as aiosqlite_dialect
from sqlalchemy.sql.compiler import SQLCompiler

from loom.errors import StoreError

type Parameters = Mapping[str, Any]
type Insert = postgresql.Insert | sqlite.Insert
type SqlType = BigInteger | Integer | LargeBinary | Text
type Values = Mapping[str, ColumnElement[Any]]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text as the driver takes it, and how named parameters are put in its order."""

    sql: str
    arrange: Callable[[Parameters], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class RowsStatement:
    """SQL text that is given rows, and how these are put in its order."""

    sql: str
    arrange: Callable[[Sequence[Row]], Any]
    """To what the driver takes: the rows themselves, or an array for each column."""
    row: str = ""
    """The part of the text that stands for a row, where more of them may follow each other."""

    def of_rows(self, number: int) -> str:
        """The text for so many rows at once."""
        return self.sql.replace(self.row, ", ".join([self.row] * number), 1)


type Row = Sequence[Any]


class SqlDialect(ABC):
    """What one database is told differently from the other."""

    _dialect: Dialect

    locks_rows: bool
    """Whether writers work side by side, each with locks on the rows that it writes."""

    def compile(self, construct: ClauseElement) -> Statement:
        compiled = self._compile(construct)
        arrange = _arranger(compiled.positiontup or [])
        # SQLAlchemy makes parameters of numbers too, such as the offset that SQLite wants.
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        if constants:
            return Statement(str(compiled), lambda given: arrange({**constants, **given}))
        return Statement(str(compiled), arrange)

    def compile_rows(self, construct: ClauseElement, columns: Iterable[str]) -> RowsStatement:
        """A statement that ``values`` went into, for rows of these columns in this order."""
        compiled = self._compile(construct)
        order, names = compiled.positiontup or [], list(columns)
        arrange = self._row_arranger([names.index(n) for n in order])
        return RowsStatement(str(compiled), arrange, self._repeatable_row(construct, len(order)))

    def _compile(self, construct: ClauseElement) -> SQLCompiler:
        compiled = construct.compile(dialect=self._dialect)
        assert isinstance(compiled, SQLCompiler)
        return compiled

    @abstractmethod
    def values(self, columns: Mapping[str, SqlType]) -> Values:
        """The values of the rows that a statement is given, by the names of their columns."""

    @abstractmethod
    def insert_rows(self, table: Table, values: Values) -> Insert:
        """An INSERT of rows, which can be told what to do on a conflict."""

    @abstractmethod
    def _row_arranger(self, order: Sequence[int]) -> Callable[[Sequence[Row]], Any]:
        """How rows are put into the order in which the text names their columns."""

    def _repeatable_row(self, construct: ClauseElement, width: int) -> str:
        """The part of a statement's text that stands for one row; empty where it takes all rows
        anyway, or never more than one."""
        return ""

    @abstractmethod
    def any_of(self, key: Column[Any], name: str) -> ColumnElement[bool]:
        """Whether ``key`` is among the values that ``array`` made of the parameter ``name``.

        The text is the same however many values there are.
        """

    @abstractmethod
    def array(self, values: Sequence[Any]) -> Any:
        """Values to be passed to ``any_of``."""

    @abstractmethod
    def reaches(self, column: Column[Any], name: str) -> ColumnElement[bool]:
        """Whether a text is the parameter or comes after it, by code points."""

    @abstractmethod
    def precedes(self, column: Column[Any], name: str) -> ColumnElement[bool]:
        """Whether a text comes before the parameter, by code points."""

    @abstractmethod
    def are_numbers(self, *columns: ColumnElement[int]) -> ColumnElement[bool]:
        """Whether columns of numbers hold numbers in a row. A database that keeps whatever somebody
        puts there must not have one damaged row keep its neighbours from being claimed."""

    @abstractmethod
    def pairs(self, first: type[Any], second: type[Any]) -> FromClause:
        """The pairs that ``pair_parameters`` passes, as a table of the columns ``first`` and
        ``second``."""

    @abstractmethod
    def pair_parameters(self, pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
        """The parameters that ``pairs`` reads."""


def _arranger(order: Sequence[str]) -> Callable[[Parameters], Sequence[Any]]:
    if not order:
        return lambda parameters: ()
    if len(order) == 1:
        [name] = order
        return lambda parameters: (parameters[name],)
    return itemgetter(*order)


class PostgresDialect(SqlDialect):
    """asyncpg's ``$1``, and arrays as Postgres has them: rows travel as an array per column."""

    _dialect: Dialect = asyncpg_dialect()  # type: ignore[no-untyped-call]
    locks_rows = True

    def values(self, columns: Mapping[str, SqlType]) -> Values:
        return dict(_unnested("given", columns).c.items())

    def table(self, name: str, columns: Mapping[str, SqlType]) -> FromClause:
        """The rows of that name that ``compile_tables`` lets a statement be given."""
        return _unnested(name, columns, prefix=f"{name}_")

    def compile_tables(
        self, construct: ClauseElement, tables: Mapping[str, Collection[str]]
    ) -> Statement:
        """A statement that ``table`` went into, for rows of these columns by these names."""
        compiled = self._compile(construct)
        order = compiled.positiontup or []

        def arrange(given: Parameters) -> Sequence[Any]:
            arrays = {
                f"{name}_{column}": array
                for name, columns in tables.items()
                for column, array in zip(columns, _columns(given[name], len(columns)), strict=True)
            }
            return [arrays[name] for name in order]

        return Statement(str(compiled), arrange)

    def insert_rows(self, table: Table, values: Values) -> postgresql.Insert:
        names = list(values.keys())
        return postgresql.insert(table).from_select(names, select(*values.values()))

    def _row_arranger(self, order: Sequence[int]) -> Callable[[Sequence[Row]], Any]:
        def arrange(rows: Sequence[Row]) -> Any:
            columns = _columns(rows, len(order))
            return [columns[index] for index in order]

        return arrange

    def any_of(self, key: Column[Any], name: str) -> ColumnElement[bool]:
        return key == func.any(bindparam(name, type_=ARRAY(key.type)))

    def array(self, values: Sequence[Any]) -> Any:
        return values

    # The operators of an index with text_pattern_ops: those usual follow the database's collation.

    def reaches(self, column: Column[Any], name: str) -> ColumnElement[bool]:
        return column.bool_op("~>=~")(bindparam(name, type_=Text()))

    def precedes(self, column: Column[Any], name: str) -> ColumnElement[bool]:
        return column.bool_op("~<~")(bindparam(name, type_=Text()))

    def are_numbers(self, *columns: ColumnElement[int]) -> ColumnElement[bool]:
        return true()

    def pairs(self, first: type[Any], second: type[Any]) -> FromClause:
        types = {"first": _sql_type(first), "second": _sql_type(second)}
        arrays = [bindparam(f"pairs_{name}", type_=ARRAY(type_)) for name, type_ in types.items()]
        columns = [column(name, type_) for name, type_ in types.items()]
        return func.unnest(*arrays).table_valued(*columns, name="pairs").render_derived()

    def pair_parameters(self, pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
        return {
            "pairs_first": [first for first, _ in pairs],
            "pairs_second": [second for _, second in pairs],
        }


def _unnested(name: str, columns: Mapping[str, SqlType], prefix: str = "") -> FromClause:
    """Rows as a table: of each column an array."""
    arrays = [bindparam(f"{prefix}{n}", type_=ARRAY(type_)) for n, type_ in columns.items()]
    fields = [column(n, type_) for n, type_ in columns.items()]
    return func.unnest(*arrays).table_valued(*fields, name=name).render_derived()


def _columns(rows: Sequence[Row], width: int) -> Sequence[Sequence[Any]]:
    return tuple(zip(*rows, strict=True)) if rows else ((),) * width


class SqliteDialect(SqlDialect):
    """SQLite's ``?``, and arrays as JSON text. Rows are passed one after the other."""

    _dialect: Dialect = aiosqlite_dialect()
    locks_rows = False

    def values(self, columns: Mapping[str, SqlType]) -> Values:
        return {name: bindparam(name, type_=type_) for name, type_ in columns.items()}

    def insert_rows(self, table: Table, values: Values) -> sqlite.Insert:
        return sqlite.insert(table).values(dict(values))

    def _row_arranger(self, order: Sequence[int]) -> Callable[[Sequence[Row]], Any]:
        if list(order) == list(range(len(order))):
            return lambda rows: rows
        arrange = itemgetter(*order)
        return lambda rows: [arrange(row) for row in rows]

    def _repeatable_row(self, construct: ClauseElement, width: int) -> str:
        return f"({', '.join('?' * width)})" if isinstance(construct, sqlite.Insert) else ""

    def any_of(self, key: Column[Any], name: str) -> ColumnElement[bool]:
        values = func.json_each(bindparam(name, type_=Text())).table_valued("value", name=name)
        return key.in_(select(values.c.value))

    def array(self, values: Sequence[Any]) -> Any:
        return _json(values)

    def reaches(self, column: Column[Any], name: str) -> ColumnElement[bool]:
        return column >= bindparam(name, type_=Text())

    def precedes(self, column: Column[Any], name: str) -> ColumnElement[bool]:
        return column < bindparam(name, type_=Text())

    def are_numbers(self, *columns: ColumnElement[int]) -> ColumnElement[bool]:
        is_number: ColumnElement[str] = literal_column("'integer'")
        return and_(*(func.typeof(each) == is_number for each in columns))

    def pairs(self, first: type[Any], second: type[Any]) -> FromClause:
        values = func.json_each(bindparam("pairs", type_=Text())).table_valued("value")

        def item(index: int, type_: type[Any]) -> ColumnElement[Any]:
            path: ColumnElement[str] = literal_column(f"'$[{index}]'")
            return func.json_extract(values.c.value, path, type_=_sql_type(type_))

        items = item(0, first).label("first"), item(1, second).label("second")
        return select(*items).subquery("pairs")

    def pair_parameters(self, pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
        return {"pairs": _json(pairs)}


def _sql_type(python_type: type[Any]) -> BigInteger | Text:
    return BigInteger() if python_type is int else Text()


def _json(values: Any) -> str:
    try:
        return json.dumps(values)
    except TypeError as error:
        # SQLite keeps whatever it is given: somebody has put bytes where a text should be.
        raise StoreError(f"a value in the database is of no kind that fits: {error}") from error
