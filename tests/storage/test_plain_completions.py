"""Ends of attempts are written in two ways, by the rules of the database or by those of
``RunState``: both leave the same behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from loom.storage.records import (
    ActivityCompletion,
    ActivityTask,
    Effects,
    RunRecord,
    WriteOutcome,
)
from loom.storage.sql import plain_completions, writes
from loom.storage.sql.dialects import Statement
from loom.storage.sql.postgres import PostgresDatabase
from loom.storage.sql.schema import metadata
from loom.storage.sql.transactions import Query, Rows, Transaction
from loom.testing.conformance.scene import (
    ALICE,
    BLOCKED,
    BOB,
    LEASE,
    LOST,
    NOW,
    RUNNING,
    WRITTEN,
    Scene,
    completion,
    failure,
    following,
    held_by,
    message,
    turn,
)

ITS_OWN = {"run_key", "workflow_id", "run_id", "queue"}


async def write_the_other_way(
    database: PostgresDatabase, *ends: ActivityCompletion
) -> list[WriteOutcome]:
    return await database.write(writes.complete_activity_tasks(database.statements, ends))


async def rows_of(database: PostgresDatabase, run: RunRecord) -> list[dict[str, Any]]:
    """All that an end may change, but for what no two runs have in common."""

    def look() -> Transaction[list[dict[str, Any]]]:
        found: list[dict[str, Any]] = []
        for table in ("workflows", "inbox", "tasks"):
            names = [c.name for c in metadata.tables[table].columns if c.name not in ITS_OWN]
            query = f"SELECT {', '.join(names)} FROM {table} WHERE run_key = {run.run_key}"
            rows: Rows = yield Query(Statement(f"{query} ORDER BY 1, 2", lambda _: ()))
            found += [dict(zip(names, row, strict=True)) for row in rows]
        return found

    return await database.read(look())


async def an_attempt(scene: Scene, state: str = "waits") -> tuple[RunRecord, ActivityTask]:
    """One of two tasks, under way, of a run in that state."""
    later = scene.task(2, available_at=NOW + 5 * LEASE)
    run = await scene.start_with_tasks(scene.task(), later)
    task = await scene.claim_activity()
    effects = {
        "waits": Effects(RUNNING, NOW),
        "waits for a timer": Effects(RUNNING, NOW, wake_at=NOW + 9),
        "is due": Effects(RUNNING, NOW, wake_at=NOW - 9),
        "leased": Effects(RUNNING, NOW, lease_expires_at=NOW + LEASE),
        "blocked": Effects(BLOCKED, NOW, wake_at=NOW + 9, blocked_reason="code"),
    }[state]
    await scene.write(turn(await scene.claim_run(run), effects))
    return await scene.look(run), task


@pytest.mark.parametrize("is_parked", [False, True])
@pytest.mark.parametrize("state", ["waits", "waits for a timer", "is due", "leased", "blocked"])
async def test_both_ways_leave_the_same(
    database: PostgresDatabase, scene: Scene, state: str, is_parked: bool
) -> None:
    left = []
    for by_rule in (True, False):
        run, task = await an_attempt(scene, state)
        await scene.send(message(run, "an earlier one"))
        end = completion(task, NOW + 1)
        if is_parked:
            parked = replace(failure(task, NOW + LEASE), failure=None, parked_until=NOW + LEASE)
            assert await scene.complete(parked) == [WRITTEN]
        if by_rule:
            written = await plain_completions.complete_plainly(database, [end])
            assert written == {(task.run_key, task.activity_id)}
        else:
            assert await write_the_other_way(database, end) == [WRITTEN]
        left.append(await rows_of(database, run))
    assert left[0] == left[1]


async def test_of_ends_that_are_lost_nothing_is_written(
    database: PostgresDatabase, scene: Scene
) -> None:
    good, taken, over, freed = [await an_attempt(scene) for _ in range(4)]
    await scene.claim_activities(BOB, NOW + 2 * LEASE)
    await write_the_other_way(database, completion(over[1]))
    ends = [completion(task) for _, task in (good, taken, over, freed)]
    # Those of the others, which have been claimed since.
    ends[0] = replace(ends[0], token=good[1].token + 1)
    await scene.repository.release_leases(held_by(replace(freed[1], token=freed[1].token + 1)), NOW)
    ends[3] = replace(ends[3], token=freed[1].token + 1)
    before = [await rows_of(database, run) for run, _ in (taken, over, freed)]
    assert await plain_completions.complete_plainly(database, ends) == {(good[0].run_key, 1)}
    assert [await rows_of(database, run) for run, _ in (taken, over, freed)] == before
    assert await scene.complete(*ends) == [LOST] * 4


async def test_of_an_end_that_many_tell_one_counts(
    database: PostgresDatabase, scene: Scene
) -> None:
    for number in range(10):
        attempts = [await an_attempt(scene) for _ in range(4)]
        owned = [await scene.claim_run(run, ALICE) for run, _ in attempts]
        ends = [completion(task) for _, task in attempts]
        keeping = [
            turn(t, Effects(RUNNING, NOW, following(t.run), lease_expires_at=NOW + LEASE))
            for t in owned
        ]
        async with asyncio.timeout(50):
            told, *_ = await asyncio.gather(
                asyncio.gather(
                    scene.complete(*ends),
                    scene.complete(*reversed(ends)),
                    *(scene.complete(end) for end in ends),
                    write_the_other_way(database, *ends),
                ),
                scene.write(*keeping),
                scene.send(*(message(run, f"message {number}") for run, _ in attempts)),
            )
        assert [o for outcomes in told for o in outcomes].count(WRITTEN) == len(ends)
        for run, _ in attempts:
            assert [got.position for got in await scene.inbox_of(run)] == [1, 2]
