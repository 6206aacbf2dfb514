"""What only a SQLite store has to do."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom.errors import ConfigurationError, StoreError, StoreUnavailableError
from loom.identifiers import Micros
from loom.storage.records import Leases, RunFilter, RunLease
from loom.storage.sql import sqlite
from loom.storage.sql.dsn import SqliteDsn
from loom.storage.sql.repository import SqlRepository
from loom.storage.sql.sqlite import SqliteStore
from loom.storage.sql.transactions import Query, Transaction
from loom.testing.conformance.scene import ALICE, NOW, Scene, message, turn


@pytest.fixture
async def store(migrated_sqlite_dsn: str) -> AsyncIterator[SqliteStore]:
    store = await sqlite.open_store(f"{migrated_sqlite_dsn}?busy_timeout=0.2")
    assert isinstance(store, SqliteStore)
    yield store
    await store.close()


@pytest.fixture
def path(migrated_sqlite_dsn: str) -> Path:
    return Path(migrated_sqlite_dsn.removeprefix("sqlite:///"))


@pytest.fixture
def scene(store: SqliteStore) -> Scene:
    return Scene(store.repository)


# --- durability ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connect", "checkpoint", "is_read_only"),
    [
        (sqlite.connect_writer, 1000, 0),
        (sqlite.connect_for_leases, 0, 0),
        (sqlite.connect_reader, 0, 1),
    ],
    ids=["writer", "leases", "reader"],
)
def test_every_connection_loses_nothing_and_waits(
    path: Path,
    connect: sqlite.Connect,
    checkpoint: int,
    is_read_only: int,
) -> None:
    connection = connect(SqliteDsn(str(path)))

    def read(pragma: str) -> object:
        return connection.execute(f"PRAGMA {pragma}").fetchone()[0]

    assert read("journal_mode") == "wal"
    assert read("synchronous") == 2  # FULL
    assert read("fullfsync") == 1
    assert read("busy_timeout") == 10_000
    assert read("wal_autocheckpoint") == checkpoint
    assert read("query_only") == is_read_only
    connection.close()


async def test_only_the_claim_of_a_run_does_not_wait_for_the_disk(path: Path) -> None:
    said: list[str] = []

    def connect(dsn: SqliteDsn) -> sqlite3.Connection:
        connection = sqlite.connect_writer(dsn)
        connection.set_trace_callback(said.append)
        return connection

    def durability() -> list[str]:
        spoken = [line for line in said if line.startswith("PRAGMA") or line == "COMMIT"]
        said.clear()
        return spoken

    on_disk = ["PRAGMA synchronous = FULL", "COMMIT"]
    database = sqlite.SqliteDatabase(SqliteDsn(str(path)), threading.Lock(), connect)
    scene = Scene(SqlRepository(database))
    try:
        run = await scene.start()
        assert durability() == on_disk
        await scene.send(message(run, "m-1"))
        assert durability() == on_disk
        [task] = await scene.claim()
        assert durability() == ["PRAGMA synchronous = NORMAL", "COMMIT"]
        await scene.write(turn(task))
        assert durability() == on_disk
    finally:
        await database.close()


# --- callers that go away ------------------------------------------------------------------------


def held_up(started: threading.Event, go: threading.Event) -> Transaction[None]:
    """A transaction that dawdles on SQLite's thread."""
    started.set()
    go.wait(10)
    return
    yield


async def test_a_cancelled_caller_leaves_the_transaction_whole(
    store: SqliteStore, scene: Scene
) -> None:
    started, go = threading.Event(), threading.Event()
    blocking = asyncio.create_task(store.database.write(held_up(started, go)))
    await asyncio.to_thread(started.wait)
    starting = asyncio.create_task(scene.start("cancelled"))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    go.set()
    await blocking
    # The next writer comes after it on the same connection.
    other = await scene.start()
    runs = await store.repository.list_runs(RunFilter())
    assert [run.workflow_id for run in runs] == [other.workflow_id, "cancelled"]
    assert len(await store.repository.read_history(runs[1].run_key)) == 1


async def test_a_caller_cancelled_while_the_file_is_opened_harms_nobody(
    migrated_sqlite_dsn: str,
) -> None:
    store = SqliteStore(SqliteDsn(migrated_sqlite_dsn.removeprefix("sqlite:///")))
    looking = asyncio.create_task(store.repository.list_runs(RunFilter()))
    await asyncio.sleep(0)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert list(await store.repository.list_runs(RunFilter())) == []
    await store.close()


async def test_what_raises_within_a_transaction_is_rolled_back(
    store: SqliteStore, scene: Scene
) -> None:
    def fail(statements: sqlite.Statements) -> Transaction[None]:
        yield Query(statements.runs.deletes[-1], {"keys": statements.array([1])})
        raise ZeroDivisionError

    run = await scene.start()
    with pytest.raises(ZeroDivisionError):
        await store.database.write(fail(store.database.statements))
    assert await scene.look(run) == run


async def test_a_closed_store_says_so(store: SqliteStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.repository.list_runs(RunFilter())


def test_a_store_that_nobody_closed_does_not_hold_up_the_process(migrated_sqlite_dsn: str) -> None:
    script = f"""
import asyncio
from loom.storage.sql import sqlite
asyncio.run(sqlite.open_store({migrated_sqlite_dsn!r}))
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# --- other processes -----------------------------------------------------------------------------


async def test_a_file_that_somebody_else_writes_is_unavailable_after_a_while(
    store: SqliteStore, scene: Scene, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked"):
        await scene.start()
    # Readers are not held up.
    assert list(await store.repository.list_runs(RunFilter())) == []
    other.execute("ROLLBACK")
    other.close()
    await scene.start()


async def test_leases_are_renewed_while_the_writer_is_busy_elsewhere(
    store: SqliteStore, scene: Scene
) -> None:
    task = await scene.start_claimed(ALICE)
    lease = Leases(runs=[RunLease(task.run.run_key, task.token)])

    async def extend(expires_at: Micros) -> Leases:
        async with store.lease_repository() as leases:
            return await leases.extend_leases(lease, ALICE, expires_at)

    extending = asyncio.to_thread(asyncio.run, extend(NOW + 77))
    await asyncio.gather(extending, *(scene.start() for _ in range(50)))
    assert (await scene.look(task.run)).lease_expires_at == NOW + 77


# --- files that will not do ----------------------------------------------------------------------


async def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="folder"):
        await sqlite.open_store(f"sqlite:///{tmp_path}/missing/loom.db")


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a folder"):
        await sqlite.open_store(f"sqlite:///{tmp_path}")


async def test_another_kind_of_file_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(StoreError, match="not a SQLite database"):
        await sqlite.open_store(f"sqlite:///{path}")
    assert path.read_text() == "Dear Sir or Madam, " * 100


async def test_a_file_that_cannot_be_opened_leaves_no_thread_behind(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    for _ in range(20):
        with pytest.raises(StoreError):
            await sqlite.open_store(f"sqlite:///{path}")
        assert not any("_connection_worker_thread" in each.name for each in threading.enumerate())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = tmp_path / "loom.db"
    path.touch()
    path.chmod(0o400)
    with pytest.raises(StoreError, match="cannot be written"):
        await sqlite.open_store(f"sqlite:///{path}")
