"""Worker processes that are killed, frozen and stopped for real."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.chaos.jobs import ACTIVITIES_EACH, Endless, Five, Mixed
from tests.chaos.ledger import Ledger
from tests.chaos.processes import WorkerProcess, worker_processes
from tests.conditions import eventually

TRIALS = int(os.environ.get("LOOM_TEST_CHAOS_TRIALS", "1"))
RUNS = int(os.environ.get("LOOM_TEST_CHAOS_RUNS", "100"))
PATIENCE = 60.0 + RUNS / 5

PATIENT = {"lease_seconds": 0.5, "max_lost_attempts": 100, "max_lost_owners": 100}
"""Settings for those that are killed without being to blame."""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


async def start_many(app: loom.Loom, workflow: Any, count: int) -> list[Any]:
    return list(
        await asyncio.gather(*(app.start(workflow, n, id=f"run-{n}") for n in range(count)))
    )


async def all_closed(app: loom.Loom) -> bool:
    return not await app.list(status=RunStatus.RUNNING, limit=1)


async def recorded(handles: Sequence[Any]) -> list[str]:
    """The keys of all activities whose results are in history, which must have no gap."""
    keys = []
    for handle in handles:
        history = await handle.history()
        assert [event.sequence for event in history] == list(range(1, len(history) + 1))
        keys += [
            f"{handle.run_id}/{event.attributes['activity_id']}"
            for event in history
            if event.type == "ACTIVITY_COMPLETED"
        ]
    return keys


@pytest.mark.timeout(600)
async def test_four_processes_run_every_activity_exactly_once(dsn: str, ledger: Ledger) -> None:
    async with loom.Loom(dsn) as app:
        with worker_processes(4, dsn, ledger.path):
            handles = await start_many(app, Five, RUNS)
            await eventually(lambda: all_closed(app), PATIENCE)
            results = [await handle.result(30) for handle in handles]
        assert results == [n + ACTIVITIES_EACH for n in range(RUNS)]
        keys = await recorded(handles)
    assert len(keys) == RUNS * ACTIVITIES_EACH
    counts = ledger.counts()
    assert set(counts) == set(keys)
    assert {key: times for key, times in counts.items() if times != 1} == {}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("trial", range(TRIALS))
async def test_processes_killed_at_random_lose_nothing_and_repeat_nothing_recorded(
    dsn: str, ledger: Ledger, trial: int
) -> None:
    chance = random.Random(trial)
    async with loom.Loom(dsn) as app:
        with worker_processes(2, dsn, ledger.path, **PATIENT) as two:
            workers = list(two)
            handles = await start_many(app, Mixed, 20)
            signals = [h.signal("add", 1, request_id="add") for h in handles]
            await asyncio.gather(*signals)
            for _ in range(3):
                await some_progress(ledger, chance.randrange(1, 25))
                before = ledger.counts()
                victim = workers.pop(0)
                victim.kill()
                # Whatever is in history now may never be run again.
                keys = await recorded(handles)
                again = WorkerProcess(dsn, ledger.path, **PATIENT)
                two.append(again)
                workers.append(again)
                await asyncio.to_thread(again.wait_until_ready)
                check_none_repeated(keys, before, ledger)
            results = [await handle.result(PATIENCE) for handle in handles]
            check_none_repeated(keys, before, ledger)
        assert results == [n + 5 for n in range(20)]
        assert len(await recorded(handles)) == 20 * 5


async def some_progress(ledger: Ledger, lines: int) -> None:
    """Wait until so many more activities have been run, or nothing more is to be run."""
    goal = len(ledger.lines()) + lines
    deadline = time.monotonic() + 2
    await eventually(lambda: len(ledger.lines()) >= goal or time.monotonic() > deadline)


def check_none_repeated(keys: Sequence[str], before: Any, ledger: Ledger) -> None:
    after = ledger.counts()
    # A run of the killed moment itself may have been noted after we counted, never after we read.
    assert {key for key in keys if key in before and after[key] > before[key]} == set()


@pytest.mark.timeout(120)
async def test_a_dead_processs_runs_are_taken_up_when_their_lease_ends(
    dsn: str, ledger: Ledger
) -> None:
    async with loom.Loom(dsn) as app:
        with worker_processes(2, dsn, ledger.path, lease_seconds=1) as (first, second):
            second.freeze()
            handle = await app.start(Endless, False)
            await eventually(lambda: len(ledger.lines()) == 1)
            second.wake()
            first.kill()
            await eventually(lambda: len(ledger.lines()) == 2)
        await handle.terminate()


@pytest.mark.timeout(120)
async def test_a_process_that_was_frozen_beyond_its_lease_commits_nothing(
    dsn: str, ledger: Ledger
) -> None:
    async with loom.Loom(dsn) as app:
        with worker_processes(1, dsn, ledger.path, lease_seconds=0.5) as (zombie,):
            handles = await start_many(app, Mixed, 10)
            await eventually(lambda: len(ledger.lines()) >= 5)
            await eventually(lambda: froze_between_writes(zombie, dsn))
            with worker_processes(1, dsn, ledger.path, lease_seconds=0.5):
                await asyncio.gather(*(handle.signal("add", 1) for handle in handles))
                results = [await handle.result(30) for handle in handles]
            before = [await handle.history() for handle in handles]
            zombie.wake()
            # It is well again: it takes up new work.
            other = await app.start(Five, 1)
            assert await other.result(30) == 1 + ACTIVITIES_EACH
            assert [await handle.history() for handle in handles] == before
        assert results == [n + 5 for n in range(10)]
        assert len(await recorded(handles)) == 10 * 5


def froze_between_writes(worker: WorkerProcess, dsn: str) -> bool:
    """Freeze it, unless it holds the write lock of a SQLite file: nobody could take that away."""
    worker.freeze()
    if not dsn.startswith("sqlite"):
        return True
    with closing(sqlite3.connect(dsn.removeprefix("sqlite:///"), timeout=0)) as file:
        try:
            file.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            worker.wake()
            return False
    return True


@pytest.mark.timeout(120)
@pytest.mark.parametrize("thread", [False, True], ids=["async", "thread"])
async def test_sigterm_hands_work_back_at_once(dsn: str, ledger: Ledger, thread: bool) -> None:
    async with loom.Loom(dsn) as app:
        with worker_processes(1, dsn, ledger.path, lease_seconds=60) as (worker,):
            handle = await app.start(Endless, thread)
            await eventually(lambda: len(ledger.lines()) == 1)
            # Long before the lease has run out.
            assert await asyncio.to_thread(worker.stop) == 0
            info = await handle.info()
            assert info.worker is None
            assert [activity.worker for activity in info.activities] == [None]
        await handle.terminate()
