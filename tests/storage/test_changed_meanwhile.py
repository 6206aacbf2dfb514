"""Statements that are transactions by themselves find rows that have changed since they began, as
by a lease that was renewed: Postgres then looks at their conditions again, in ways of its own that
depend on how it has planned them. Nothing may be left out because of that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import pytest

from loom.storage.records import ActivityTask, Effects, RunRecord, Transition
from loom.storage.sql import plain_completions, plain_messages, postgres, turns
from loom.storage.sql.postgres import PostgresDatabase
from loom.testing.conformance.scene import (
    COMPLETED,
    LEASE,
    NOW,
    RUNNING,
    Scene,
    completion,
    following,
    message,
    turn,
)
from tests.conditions import eventually
from tests.plans import PLANS, with_plan

RUNS = 5


@pytest.fixture(params=PLANS)
async def database(
    request: pytest.FixtureRequest, migrated_postgres_dsn: str
) -> AsyncIterator[PostgresDatabase]:
    store = await postgres.open_store(with_plan(migrated_postgres_dsn, request.param))
    assert isinstance(store, postgres.PostgresStore)
    yield store.database
    await store.close()


async def while_all_rows_change[T](
    rival: Any, runs: Sequence[RunRecord], work: Coroutine[Any, Any, T]
) -> T:
    """Do it while somebody writes all runs and tasks anew, and commits when it waits for that."""
    keys = [run.run_key for run in runs]
    async with rival.transaction():
        for table in ("workflows", "tasks"):
            await rival.execute(f"UPDATE {table} SET due_at = due_at WHERE run_key = ANY($1)", keys)
        working = asyncio.ensure_future(work)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

        async def waits() -> bool:
            here = f"{waiting} AND datname = current_database()"
            return bool(await rival.fetchval(here))

        await eventually(waits)
    return await working


async def attempts(scene: Scene) -> list[ActivityTask]:
    """One of two activities of each run, under way."""
    for _ in range(RUNS):
        later = scene.task(2, available_at=NOW + 5 * LEASE)
        await scene.start_with_tasks(scene.task(), later)
    return list(await scene.claim_activities())


async def tasks_of(scene: Scene, runs: Sequence[RunRecord]) -> set[tuple[int, int]]:
    return {
        (run.run_key, task.activity_id)
        for run in runs
        for task in await scene.repository.list_tasks(run.run_key)
    }


async def turns_of(
    scene: Scene, effects: dict[str, Any]
) -> tuple[list[RunRecord], list[Transition]]:
    pairs = [(scene.task(), scene.task(2)) for _ in range(RUNS)]
    claimed = [await scene.claim_run(await scene.start_with_tasks(*pair)) for pair in pairs]
    runs = [task.run for task in claimed]
    told = [
        turn(task, Effects(recorded_at=NOW, events=following(task.run), **effects))
        for task in claimed
    ]
    return runs, told


async def test_of_runs_that_close_all_tasks_go(
    database: PostgresDatabase, scene: Scene, rival: Any
) -> None:
    runs, closing = await turns_of(scene, {"status": COMPLETED})
    bystanders, _ = await turns_of(scene, {"status": COMPLETED})
    writing = turns.write_plain_turns(database, closing)
    assert len(await while_all_rows_change(rival, runs, writing)) == RUNS
    assert await tasks_of(scene, runs) == set()
    assert len(await tasks_of(scene, bystanders)) == 2 * RUNS


async def test_tasks_that_have_ended_go(
    database: PostgresDatabase, scene: Scene, rival: Any
) -> None:
    going_on = {"status": RUNNING, "finished_tasks": [1], "lease_expires_at": NOW + LEASE}
    runs, keeping = await turns_of(scene, going_on)
    writing = turns.write_plain_turns(database, keeping)
    assert len(await while_all_rows_change(rival, runs, writing)) == RUNS
    assert await tasks_of(scene, runs) == {(run.run_key, 2) for run in runs}


async def test_of_turns_that_are_lost_the_tasks_stay(
    database: PostgresDatabase, scene: Scene, rival: Any
) -> None:
    runs, closing = await turns_of(scene, {"status": COMPLETED})
    good, stale = runs[:2], runs[2:]
    for run in stale:
        await scene.claim_run(run, "somebody else", NOW + 2 * LEASE)
    writing = turns.write_plain_turns(database, closing)
    written = await while_all_rows_change(rival, runs, writing)
    assert written == {run.run_key for run in good}
    assert {run_key for run_key, _ in await tasks_of(scene, runs)} == {r.run_key for r in stale}


async def test_all_ends_of_attempts_are_told(
    database: PostgresDatabase, scene: Scene, rival: Any
) -> None:
    under_way = await attempts(scene)
    runs = [await find(scene, task) for task in under_way]
    writing = plain_completions.complete_plainly(database, [completion(t) for t in under_way])
    assert len(await while_all_rows_change(rival, runs, writing)) == RUNS
    assert await tasks_of(scene, runs) == {(run.run_key, 2) for run in runs}
    for run in runs:
        assert len(await scene.inbox_of(run)) == 1


async def test_all_messages_are_delivered(
    database: PostgresDatabase, scene: Scene, rival: Any
) -> None:
    runs = [await scene.start_waiting() for _ in range(RUNS)]
    sent = [message(run, f"{run.run_id} 1") for run in runs]
    writing = plain_messages.send_plain_messages(database, sent, NOW)
    assert len(await while_all_rows_change(rival, runs, writing)) == RUNS
    for run in runs:
        assert len(await scene.inbox_of(run)) == 1


async def find(scene: Scene, task: ActivityTask) -> RunRecord:
    found = await scene.repository.find_run(task.workflow_id, task.run_id)
    assert found is not None
    return found
