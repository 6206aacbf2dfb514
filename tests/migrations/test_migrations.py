"""The schema's way up and down, on both databases."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

import loom
from loom.errors import SchemaVersionError, StoreError
from loom.storage.sql import migrations, postgres, sqlite
from loom.storage.sql.dsn import parse_dsn
from loom.storage.sql.schema import SCHEMA_VERSION, VERSION_TABLE, metadata
from loom.storage.sql.versions import Version
from loom.storage.store import Store

CHECKOUT = Path(__file__).parents[2]


@loom.workflow
class Greet(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        return f"Hello, {ctx.input}!"


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[AsyncConnection]:
    async with migrations.open_connection(parse_dsn(dsn)) as connection:
        yield connection
        await connection.commit()


async def execute(dsn: str, *statements: str) -> None:
    async with connected(dsn) as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def tables(dsn: str) -> set[str]:
    async with connected(dsn) as connection:
        return await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))


async def open_store(dsn: str) -> Store:
    return await (sqlite if dsn.startswith("sqlite") else postgres).open_store(dsn)


# --- up and down ---------------------------------------------------------------------------------


async def test_up_down_and_up_again(empty_dsn: str) -> None:
    assert await migrations.current(empty_dsn) is None
    await migrations.upgrade(empty_dsn)
    assert await tables(empty_dsn) == {*metadata.tables, VERSION_TABLE}
    assert await migrations.current(empty_dsn) == migrations.head()
    await migrations.downgrade(empty_dsn, "base")
    assert await tables(empty_dsn) == set()
    assert await migrations.current(empty_dsn) is None
    await migrations.upgrade(empty_dsn)
    await migrations.check(empty_dsn)


async def test_looking_makes_no_file_and_waits_for_nobody(
    sqlite_dsn: str, migrated_postgres_dsn: str
) -> None:
    assert await migrations.current(sqlite_dsn) is None
    assert not Path(sqlite_dsn.removeprefix("sqlite:///")).exists()
    async with connected(migrated_postgres_dsn):
        await migrations.check(migrated_postgres_dsn)


async def test_upgrading_again_changes_nothing(dsn: str) -> None:
    await migrations.upgrade(dsn)
    await migrations.check(dsn)


def all_scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(migrations.scripts()))
    return ScriptDirectory.from_config(config)


def test_the_version_that_the_code_knows_is_that_of_the_newest_script() -> None:
    assert all_scripts().get_heads() == [SCHEMA_VERSION]


def test_versions_are_numbered_and_name_older_ones_that_there_are() -> None:
    names = [script.revision for script in all_scripts().walk_revisions()]
    known = [Version.parse(name) for name in reversed(names)]
    assert [version.number for version in known] == [f"{n:04}" for n in range(1, len(names) + 1)]
    assert all("0001" <= version.oldest <= version.number for version in known)


def test_the_folder_of_scripts_is_no_package() -> None:
    # It would hide the library of the same name.
    assert not list((CHECKOUT / "alembic").rglob("__init__.py"))
    assert migrations.scripts() == CHECKOUT / "alembic"


# --- the schema that the code expects ------------------------------------------------------------


async def structure(dsn: str) -> Any:
    def read(connection: Connection) -> Any:
        if connection.dialect.name == "sqlite":
            query = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%loom_schema%'"
            return {name: normalized(sql) for name, sql in connection.execute(text(query))}
        inspector = inspect(connection)
        return {
            table: (
                sorted(map(str, inspector.get_columns(table))),
                inspector.get_pk_constraint(table),
                sorted(map(str, inspector.get_unique_constraints(table))),
                sorted(map(str, inspector.get_indexes(table))),
                connection.scalar(
                    text("SELECT reloptions FROM pg_class WHERE oid = to_regclass(:name)"),
                    {"name": table},
                ),
            )
            for table in metadata.tables
        }

    async with connected(dsn) as connection:
        return await connection.run_sync(read)


def normalized(sql: str | None) -> str:
    # Columns and constraints in any order, and NOT NULL of a key spelled out or not.
    lines = re.sub(r"\s+", " ", sql or "").replace(" NOT NULL", "").split(",")
    return ",".join(sorted(line.strip(" )") for line in lines))


async def test_the_migrated_schema_is_the_one_of_the_code(empty_dsn: str) -> None:
    async with connected(empty_dsn) as connection:
        await connection.run_sync(metadata.create_all)
    created = await structure(empty_dsn)
    async with connected(empty_dsn) as connection:
        await connection.run_sync(metadata.drop_all)
    await migrations.upgrade(empty_dsn)
    assert await structure(empty_dsn) == created


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DROP INDEX ix_tasks_due", "ix_tasks_due"),
        ("ALTER TABLE tasks ADD COLUMN priority BIGINT", "priority"),
        ("DROP TABLE logs", "logs"),
        ("DROP INDEX ix_workflows_due", "ix_workflows_due"),
    ],
)
async def test_a_schema_changed_by_hand_is_noticed(dsn: str, change: str, told: str) -> None:
    await execute(dsn, change)
    with pytest.raises(SchemaVersionError, match=told):
        await migrations.check(dsn)


@pytest.mark.parametrize("where", ["", " WHERE status = 'RUNNING'"])
async def test_a_partial_index_over_other_rows_is_noticed(dsn: str, where: str) -> None:
    name = "ix_workflows_blocked"
    await execute(dsn, f"DROP INDEX {name}", f"CREATE INDEX {name} ON workflows (queue){where}")
    with pytest.raises(SchemaVersionError, match=name):
        await migrations.check(dsn)


# --- neighbours ----------------------------------------------------------------------------------


async def test_tables_of_others_stay_as_they_are(empty_dsn: str) -> None:
    await execute(
        empty_dsn,
        "CREATE TABLE orders (id INTEGER)",
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('theirs')",
        "INSERT INTO orders VALUES (1)",
    )
    await migrations.upgrade(empty_dsn)
    await migrations.check(empty_dsn)
    await migrations.downgrade(empty_dsn, "base")
    assert await tables(empty_dsn) == {"orders", "alembic_version"}
    async with connected(empty_dsn) as connection:
        assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "theirs"
        assert await connection.scalar(text("SELECT id FROM orders")) == 1


async def test_a_table_of_the_same_name_is_not_touched_and_nothing_is_left_half_done(
    empty_dsn: str,
) -> None:
    await execute(empty_dsn, "CREATE TABLE inbox (mine INTEGER)")
    with pytest.raises(StoreError, match="inbox"):
        await migrations.upgrade(empty_dsn)
    # Tables that come before it in the migration are gone again.
    assert await tables(empty_dsn) == {"inbox"}
    assert await migrations.current(empty_dsn) is None


async def test_a_killed_migration_leaves_nothing_half_done(sqlite_dsn: str) -> None:
    script = f"""
import asyncio, os
from alembic import op
from loom.storage.sql import migrations
create_index = op.create_index
def create_index_or_die(name, *args, **options):
    if name == "ix_tasks_due":
        os._exit(9)
    create_index(name, *args, **options)
op.create_index = create_index_or_die
asyncio.run(migrations.upgrade({sqlite_dsn!r}))
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert killed.returncode == 9, killed.stderr.decode()
    assert await tables(sqlite_dsn) == set()
    await migrations.upgrade(sqlite_dsn)
    await migrations.check(sqlite_dsn)


async def test_several_may_migrate_at_once(empty_dsn: str) -> None:
    script = f"""
import asyncio
from loom.storage.sql import migrations
asyncio.run(migrations.upgrade({empty_dsn!r}))
"""
    deployers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script) for _ in range(3)
    ]
    await asyncio.gather(*(migrations.upgrade(empty_dsn) for _ in range(3)))
    assert [await deployer.wait() for deployer in deployers] == [0, 0, 0]
    await migrations.check(empty_dsn)


# --- opening a store -----------------------------------------------------------------------------


async def test_a_sqlite_file_is_migrated_when_it_is_first_opened(sqlite_dsn: str) -> None:
    stores = await asyncio.gather(*(open_store(sqlite_dsn) for _ in range(4)))
    for store in stores:
        await store.close()
    await migrations.check(sqlite_dsn)


async def test_an_up_to_date_file_opens_without_alembic(migrated_sqlite_dsn: str) -> None:
    script = f"""
import asyncio, sys
from loom.storage.sql import sqlite
async def main():
    store = await sqlite.open_store({migrated_sqlite_dsn!r})
    await store.close()
asyncio.run(main())
assert "alembic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


async def test_postgres_without_a_schema_is_refused_with_the_command_to_run(
    postgres_dsn: str,
) -> None:
    with pytest.raises(SchemaVersionError, match="loom db upgrade"):
        await open_store(postgres_dsn)
    assert await tables(postgres_dsn) == set()


async def test_an_older_schema_is_refused_on_postgres(migrated_postgres_dsn: str) -> None:
    await execute(migrated_postgres_dsn, f"UPDATE {VERSION_TABLE} SET version_num = '0000'")
    with pytest.raises(SchemaVersionError, match="loom db upgrade"):
        await open_store(migrated_postgres_dsn)


async def test_a_newer_schema_is_refused(dsn: str) -> None:
    await execute(dsn, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    for refused in (open_store, migrations.check, migrations.upgrade):
        with pytest.raises(SchemaVersionError, match="upgrade the package"):
            await refused(dsn)
    with pytest.raises(SchemaVersionError, match="only the newer Loom that made it"):
        await migrations.downgrade(dsn, "base")


NEXT = f"9999_from_{SCHEMA_VERSION[:4]}"
"""A version that adds what this Loom does not miss."""


async def test_a_newer_schema_that_this_loom_can_work_with_is_left_as_it_is(dsn: str) -> None:
    await execute(
        dsn,
        f"UPDATE {VERSION_TABLE} SET version_num = '{NEXT}'",
        "ALTER TABLE workflows ADD COLUMN priority BIGINT NOT NULL DEFAULT 7",
        "CREATE TABLE schedules (name TEXT)",
    )
    await migrations.upgrade(dsn)
    assert await migrations.check(dsn) == NEXT
    for back in (migrations.ways_back(dsn), migrations.downgrade(dsn, "base")):
        with pytest.raises(SchemaVersionError, match="can work with it as it is"):
            await back
    async with loom.Loom(dsn) as app, app.worker(workflows=[Greet]):
        assert await (await app.start(Greet, "Ada")).result() == "Hello, Ada!"
    assert await migrations.current(dsn) == NEXT


# --- Alembic by hand -----------------------------------------------------------------------------


@pytest.fixture
def alembic(empty_dsn: str, tmp_path: Path) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "alembic", "-c", str(CHECKOUT / "alembic.ini")]
        done = subprocess.run(
            [*command, "-x", f"dsn={empty_dsn}", *arguments],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


async def test_alembic_works_from_a_checkout(empty_dsn: str, alembic: Callable[..., str]) -> None:
    await asyncio.to_thread(alembic, "upgrade", "head")
    assert await migrations.current(empty_dsn) == SCHEMA_VERSION
    assert "No new upgrade operations" in await asyncio.to_thread(alembic, "check")
    assert "CREATE TABLE workflows" in await asyncio.to_thread(alembic, "upgrade", "head", "--sql")
