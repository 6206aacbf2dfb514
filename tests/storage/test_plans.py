"""Statements on Postgres are planned once, by what their tables held then. What they read must not
grow with the tables, and so every row must be found by a key."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import pytest

from loom.storage.records import Effects
from loom.storage.sql import postgres, turns
from loom.storage.sql.dialects import PostgresDialect, Statement
from loom.storage.sql.dsn import PostgresDsn, parse_dsn
from loom.storage.sql.postgres import PostgresStore
from loom.storage.sql.schema import metadata
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Query, Transaction
from loom.testing.conformance.scene import (
    NOW,
    RUNNING,
    WRITTEN,
    Scene,
    closing,
    following,
    message,
    turn,
)

ROWS = 400

_SCAN: Final = re.compile(r"\w Scan(?: Backward)?(?: using (?P<index>\w+))? on (?P<table>\w+)")

IN_ORDER: Final = {"ix_tasks_due", "ix_workflows_due", "ix_workflows_blocked"}
"""Indexes that claims read from their beginning, in order, up to a limit."""


def statements() -> Iterator[tuple[str, str]]:
    """All that lists are not made of, by their names."""
    dialect = PostgresDialect()
    for group, made in vars(Statements(dialect)).items():
        for kind in type(made).__mro__:
            for name in [
                n for n, value in vars(kind).items() if isinstance(value, cached_property)
            ]:
                found = getattr(made, name)
                for part in found if isinstance(found, tuple) else (found,):
                    yield f"{group}.{name}", part.sql


STATEMENTS: Final = {name: sql for name, sql in statements() if "sqlite_sequence" not in sql}


@pytest.fixture
async def connection(migrated_postgres_dsn: str) -> AsyncIterator[Any]:
    """Tables are analyzed when a test says so, and by nobody else."""
    dsn = parse_dsn(migrated_postgres_dsn)
    assert isinstance(dsn, PostgresDsn)
    opened = await postgres.connect(dsn)
    for table in metadata.tables:
        await opened.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    yield opened
    await opened.close()


async def fill(scene: Scene) -> None:
    for number in range(ROWS):
        task = await scene.start_claimed()
        effects = Effects(RUNNING, NOW, events=following(task.run), tasks=[scene.task()])
        tagged = replace(effects, tags={"number": str(number)})
        assert await scene.write(turn(task, tagged)) == [WRITTEN]
        run = await scene.look(task.run)
        await scene.send(message(run, f"message-{number}"))


async def plan(connection: Any, sql: str) -> list[str]:
    await connection.execute(f"PREPARE planned AS {sql}")
    parameters = await connection.fetchval(
        "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'planned'"
    )
    nulls = f"({', '.join(['NULL'] * parameters)})" if parameters else ""
    rows = await connection.fetch(f"EXPLAIN (COSTS off) EXECUTE planned{nulls}")
    await connection.execute("DEALLOCATE planned")
    return [row[0] for row in rows]


def unkeyed(lines: list[str]) -> Iterator[str]:
    """Scans that read all there is."""
    for line, next_line in zip(lines, [*lines[1:], ""], strict=True):
        scan = _SCAN.search(line)
        if scan is None or scan["table"] not in metadata.tables or scan["index"] in IN_ORDER:
            continue
        if "Index Cond" not in next_line:
            yield f"{line.strip()} {next_line.strip()}"


@pytest.mark.parametrize("is_analyzed_empty", [False, True])
async def test_every_row_is_found_by_a_key(
    connection: Any, store: PostgresStore, is_analyzed_empty: bool
) -> None:
    if is_analyzed_empty:
        await connection.execute("VACUUM ANALYZE")
    await fill(Scene(store.repository))
    found = {name: list(unkeyed(await plan(connection, sql))) for name, sql in STATEMENTS.items()}
    assert {name: scans for name, scans in found.items() if scans} == {}


def test_there_are_statements_of_every_kind() -> None:
    assert {"turns_at_once.write", "claims.claim_one", "tasks.lock"} <= set(STATEMENTS)
    assert isinstance(Statements(PostgresDialect()).claims.claim_one, Statement)


async def test_what_was_planned_for_empty_tables_is_planned_anew(
    connection: Any, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_PLANS_LAST", math.inf)
    scene = Scene(store.repository)
    await connection.execute("VACUUM ANALYZE")

    async def close_one() -> None:
        task = await scene.start_claimed()
        assert await turns.write_plain_turns(store.database, [closing(task)])

    async def rows_read() -> int:
        """By the indexes concerned, since the database was made. One after the other, all queries
        share a connection."""
        await ask(store, "SELECT pg_stat_force_next_flush()")
        return int(await ask(store, _ROWS_READ))

    async def rows_read_by_one() -> int:
        before = await rows_read()
        await close_one()
        return await rows_read() - before

    await close_one()
    await fill(scene)
    assert await rows_read_by_one() > ROWS, "nothing to be planned anew"
    monkeypatch.setattr(postgres, "_PLANS_LAST", 0.0)
    assert await rows_read_by_one() < ROWS / 10


async def ask(store: PostgresStore, sql: str) -> Any:
    def transaction() -> Transaction[Any]:
        rows = yield Query(Statement(sql, lambda _: ()), {})
        return rows[0][0]

    return await store.database.read(transaction())


_ROWS_READ: Final = """
SELECT sum(idx_tup_read) FROM pg_stat_user_indexes
WHERE indexrelname IN ('pk_workflows', 'pk_tasks', 'uq_inbox_run_key_message_id')
"""
