"""What others write to a SQLite file is heard of, though nobody tells."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loom.storage.notifier import (
    CALLED_OFF,
    MESSAGES,
    activity_topic,
    answer_topic,
    run_topic,
    workflow_topic,
)
from loom.storage.sql import sqlite
from loom.storage.sql.neighbours import FileNotifier
from loom.storage.sql.sqlite import SqliteStore
from loom.testing.conformance.scene import Scene, held_by, message
from tests.conditions import eventually

MANY = 100


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[SqliteStore]:
    """A store as another process would have it, with connections of its own."""
    store = await sqlite.open_store(dsn)
    assert isinstance(store, SqliteStore)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(migrated_sqlite_dsn: str) -> AsyncIterator[SqliteStore]:
    async with opened(migrated_sqlite_dsn) as store:
        yield store


@pytest.fixture
async def other(migrated_sqlite_dsn: str) -> AsyncIterator[SqliteStore]:
    async with opened(migrated_sqlite_dsn) as store:
        yield store


async def heard_once(store: SqliteStore, *topics: str) -> list[str]:
    """What is heard from now on; something was, so that it is known what there was before."""
    heard: list[str] = []
    for topic in topics:
        store.notifier.subscribe(topic, heard.append)
    await eventually(lambda: bool(heard))
    heard.clear()
    return heard


async def test_what_others_write_is_heard_of_by_all_but_those_who_would_renew_leases(
    store: SqliteStore, other: SqliteStore
) -> None:
    run = await Scene(other.repository).start()
    topics = [workflow_topic("q"), activity_topic("q"), MESSAGES, run_topic("r"), answer_topic("m")]
    heard = await heard_once(store, CALLED_OFF, *topics)
    for number in range(3):
        await Scene(other.repository).send(message(run, f"message {number}"))
        await eventually(lambda: set(heard) == set(topics))
        heard.clear()


async def test_when_very_many_wait_for_one_thing_each_they_look_by_themselves(
    store: SqliteStore, other: SqliteStore
) -> None:
    own = [run_topic(str(number)) for number in range(MANY)]
    heard = await heard_once(store, workflow_topic("q"), MESSAGES, *own)
    await Scene(other.repository).start()
    await eventually(lambda: bool(heard))
    assert set(heard) == {workflow_topic("q"), MESSAGES}


async def test_what_the_process_writes_itself_is_nothing_new(
    store: SqliteStore, other: SqliteStore
) -> None:
    before = await store.database.writes_by_others()
    scene = Scene(store.repository)
    task = await scene.start_claimed()
    await scene.send(message(task.run, "message"))
    await store.repository.release_leases(held_by(task), 0)
    assert await store.database.writes_by_others() == before
    await Scene(other.repository).look(task.run)
    assert await store.database.writes_by_others() == before
    await Scene(other.repository).send(message(task.run, "another"))
    assert await store.database.writes_by_others() != before


async def test_who_comes_after_everybody_had_left_hears_too(
    store: SqliteStore, other: SqliteStore
) -> None:
    run = await Scene(other.repository).start()
    for number in range(3):
        heard: list[str] = []
        unsubscribe = store.notifier.subscribe(MESSAGES, heard.append)
        await Scene(other.repository).send(message(run, f"message {number}"))
        await eventually(lambda heard=heard: bool(heard))
        unsubscribe()


async def test_a_commit_that_is_in_the_log_long_before_it_is_seen_is_heard_of(
    tmp_path: Path,
) -> None:
    log = tmp_path / "loom.db-wal"
    log.touch()
    asked: list[int] = []
    version = 1

    async def ask() -> int:
        asked.append(version)
        return version

    notifier = FileNotifier(str(tmp_path / "loom.db"), ask)
    heard: list[str] = []
    notifier.subscribe(MESSAGES, heard.append)
    await eventually(lambda: bool(heard))
    heard.clear()
    log.write_bytes(b"frames that are still to be synced")
    asked_before = len(asked)
    await eventually(lambda: len(asked) > asked_before + 2)
    assert not heard
    version = 2
    await eventually(lambda: bool(heard))
    await notifier.close()


async def test_a_store_that_is_closed_looks_no_more(store: SqliteStore, other: SqliteStore) -> None:
    heard = await heard_once(store, MESSAGES)
    await Scene(other.repository).start()
    await store.close()
    heard.clear()
    store.notifier.subscribe(MESSAGES, heard.append)
    await Scene(other.repository).start()
    listening: list[str] = []
    async with opened(str(other.dsn)) as third:
        third.notifier.subscribe(MESSAGES, listening.append)
        await eventually(lambda: bool(listening))
    assert not heard
