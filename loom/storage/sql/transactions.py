"""Transactions told without I/O: generators that yield statements and are sent rows.

The same generator serves both databases. How it is driven is the business of a ``Database``: in
one hop on SQLite's thread, or with an await for each statement on Postgres.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import field

from loom.identifiers import Micros
from loom.storage.sql.dialects import Parameters, Row, RowsStatement, Statement
from loom.storage.sql.statements import Statements
from loom.values import value


@value(frozen=True, slots=True)
class Query:
    """One statement to be run once; its rows come back."""

    statement: Statement
    parameters: Parameters = field(default_factory=dict)


@value(frozen=True, slots=True)
class Many:
    """One statement for all of these rows, in order; nothing comes back."""

    statement: RowsStatement
    rows: Rows
    returning: bool = False
    """Whether what it returns for each of them does come back."""
    each: bool = False
    """Whether every one of them has to change a row: else ``Unmatched`` is raised."""


type Rows = Sequence[Row]

type Transaction[T] = Generator[Query | Many, Rows, T]


class Overtaken(Exception):
    """What a transaction had found out before it held its locks holds no more: it is to be rolled
    back and tried again. Taking more locks instead could make two transactions wait for each
    other."""


class Unmatched(Exception):
    """A row that was to change one of the database's has found none that it may change."""


class Database(ABC):
    """An open database, on which transactions are run."""

    statements: Statements

    works_elsewhere: bool
    """As a ``Role`` has it."""

    @abstractmethod
    async def read[T](self, transaction: Transaction[T]) -> T:
        """Run a transaction that only reads."""

    @abstractmethod
    async def write[T](self, transaction: Transaction[T]) -> T:
        """Run a transaction that writes, and commit it.

        A caller that is cancelled leaves it either committed or rolled back.
        """

    async def write_for_now[T](self, transaction: Transaction[T]) -> T:
        """``write`` what means nothing any more once the machine has lost its power, and on which
        others only build by writes of their own."""
        return await self.write(transaction)

    @abstractmethod
    async def write_at_once(self, query: Query) -> Rows:
        """Run one statement that is a transaction by itself."""

    @abstractmethod
    async def current_time(self) -> Micros:
        """The database's clock."""

    @abstractmethod
    async def close(self) -> None:
        """Let running transactions end, then give back every connection."""
