"""What somebody may have done to a row of one run, and how it is undone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tests.chaos.stage import Stage
from tests.tampering import tamper


@dataclass(frozen=True)
class Damage:
    table: str
    column: str
    change: str
    undo: str
    is_there: str
    """Which rows are damaged still: the run may have written the column anew."""
    blocks: bool = False
    """Whether its run is set apart; otherwise it waits, or goes on."""

    def __str__(self) -> str:
        return f"{self.column} of {self.table}"

    async def do(self, dsn: str, rows: str) -> None:
        """To those of the table's rows."""
        await tamper(dsn, f"UPDATE {self.table} SET {self.column} = {self.change} WHERE {rows}")

    async def mend(self, dsn: str) -> None:
        changed = f"UPDATE {self.table} SET {self.column} = {self.undo} WHERE {self.is_there}"
        # Where it is written anew with every turn nothing is left to be done.
        with suppress(AssertionError if not self.blocks else ()):
            await tamper(dsn, changed)


def text(table: str, column: str, *, blocks: bool = False) -> Damage:
    """It begins with what it never did; SQLite keeps such a text in a column of numbers, too."""
    undo = f"nullif(substr({column}, 2), '')"
    change = f"'X' || coalesce({column}, '')"
    return Damage(table, column, change, undo, f"{column} LIKE 'X%'", blocks)


def number(table: str, column: str, *, blocks: bool = False) -> Damage:
    """It is far beyond what it was."""
    by = 1_000_000
    is_there = f"{column} > {by}"
    return Damage(table, column, f"{column} + {by}", f"{column} - {by}", is_there, blocks)


def sqlite_json(table: str, blocks: bool = True) -> Damage:
    return Damage(
        *(table, "attributes", "CAST('X' || CAST(attributes AS TEXT) AS BLOB)"),
        *(
            "CAST(substr(CAST(attributes AS TEXT), 2) AS BLOB)",
            "CAST(attributes AS TEXT) LIKE 'X%'",
        ),
        blocks,
    )


def postgres_json(table: str, blocks: bool = True) -> Damage:
    undo, is_there = "substring(attributes FROM 2)", "substring(attributes FROM 1 FOR 1) = 'X'"
    return Damage(table, "attributes", "'X'::bytea || attributes", undo, is_there, blocks)


COMMON: Final = (
    text("events", "type", blocks=True),
    number("events", "schema_version", blocks=True),
    number("events", "sequence", blocks=True),
    text("workflows", "status"),
    text("inbox", "type", blocks=True),
    number("inbox", "schema_version", blocks=True),
    text("tasks", "name"),
    text("workflows", "name"),
    text("workflows", "version"),
    text("workflows", "queue"),
    number("workflows", "sequence"),
    text("tasks", "queue"),
)
POSTGRES: Final = (*COMMON, postgres_json("events"), postgres_json("inbox"))
SQLITE: Final = (
    *COMMON,
    *(sqlite_json("events"), sqlite_json("inbox")),
    *(text("workflows", name) for name in ("wake_at", "due_at", "created_at", "deadline")),
    *(text("workflows", name) for name in ("sequence", "lease_token", "inbox_count")),
    *(text("workflows", name) for name in ("lost_owners", "lease_expires_at", "updated_at")),
    *(text("tasks", name) for name in ("due_at", "attempt", "failures", "lease_token")),
    *(text("tasks", name) for name in ("sequence", "lease_expires_at", "start_by", "details")),
    *(text("events", name, blocks=True) for name in ("schema_version", "recorded_at")),
)


def damage_of(stage: Stage) -> Damage:
    """All of them in turn, by the seed."""
    damages = SQLITE if stage.is_sqlite else POSTGRES
    return damages[stage.seed % len(damages)]
