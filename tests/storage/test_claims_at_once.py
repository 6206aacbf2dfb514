"""On Postgres runs and activity tasks are claimed in one statement: it finds what a look and a
claim would, and each run comes with all of its messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from loom.identifiers import Micros, RunKey
from loom.storage.records import (
    ActivityClaim,
    ActivityTasks,
    Effects,
    RunRecord,
    WorkflowClaim,
    WorkflowTasks,
)
from loom.storage.sql import claims, schema
from loom.storage.sql.dialects import Statement
from loom.storage.sql.postgres import PostgresDatabase
from loom.storage.sql.repository import SqlRepository
from loom.storage.sql.statements.claims import OUTLOOK
from loom.storage.sql.statements.runs import RUN_STATE
from loom.storage.sql.transactions import Query, Rows, Transaction
from loom.testing.conformance.scene import (
    ALICE,
    BLOCKED,
    BOB,
    LEASE,
    NOW,
    RUNNING,
    WRITTEN,
    Scene,
    failure,
    following,
    message,
    turn,
)


async def claim_in_steps(database: PostgresDatabase, claim: WorkflowClaim) -> WorkflowTasks:
    outlook = await database.read(claims.look_for_runs(database.statements, claim))
    seen = replace(claim, suspects=outlook.is_suspect_due)
    tasks = await database.write(claims.claim_runs(database.statements, seen))
    return WorkflowTasks(tasks, outlook.next_due_at(len(tasks), claim.limit))


async def many_kinds(scene: Scene) -> dict[RunKey, str]:
    """Runs by their kinds."""
    due = [await scene.start(due_at=NOW - ago) for ago in (3, 1, 2)]
    later = [await scene.start(due_at=NOW + 5), await scene.start_waiting(wake_at=NOW + 7)]
    kept, theirs, over = [(await scene.start_claimed(owner)).run for owner in (ALICE, BOB, BOB)]
    await scene.claim_run(over, BOB, NOW - 2 * LEASE)
    blocked = await scene.start_claimed()
    apart = Effects(BLOCKED, NOW - 1, following(blocked.run), wake_at=NOW + 9, blocked_reason="x")
    await scene.write(turn(blocked, apart))
    waiting = await scene.start_waiting()
    for run in (kept, theirs, due[1], later[1], blocked.run, waiting):
        await scene.send(message(run, "one"), message(run, "two"))
    runs = [*due, *later, kept, theirs, over, blocked.run, waiting, await scene.start_waiting()]
    return {run.run_key: str(number) for number, run in enumerate(runs)}


def shown(kinds: dict[RunKey, str], claimed: WorkflowTasks) -> tuple[Any, Micros | None]:
    tasks = [
        (kinds[t.run.run_key], t.token, t.run.due_at, t.run.lease_owner, t.run.lease_expires_at)
        for t in claimed.tasks
    ]
    inboxes = [[(got.position, got.message_id) for got in t.messages] for t in claimed.tasks]
    return list(zip(tasks, inboxes, strict=True)), claimed.next_due_at


@pytest.mark.parametrize("blocked_before", [0, NOW])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 8, 100])
async def test_it_finds_what_a_look_and_a_claim_do(
    database: PostgresDatabase, limit: int, blocked_before: Micros
) -> None:
    found = []
    for claim_by in (claim_in_steps, claims.claim_at_once):
        scene = Scene(SqlRepository(database))
        kinds = await many_kinds(scene)
        for now in (NOW, NOW + 6, NOW + 2 * LEASE):
            claim = replace(
                scene.workflow_claim(now=now), limit=limit, blocked_before=blocked_before
            )
            found.append(shown(kinds, await claim_by(database, claim)))
    assert found[:3] == found[3:]


async def test_messages_that_the_statement_did_not_see_are_read_after_it(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(SqlRepository(database))
    kinds = await many_kinds(scene)
    write_at_once, before = database.write_at_once, len(OUTLOOK) + len(RUN_STATE) + 1

    async def by_an_older_view(query: Query) -> Rows:
        """As when all but the first messages have come since the statement began."""
        rows = [tuple(row) for row in await write_at_once(query)]
        return [_without(row, before) if row[before + 1] == 2 else row for row in rows]

    monkeypatch.setattr(database, "write_at_once", by_an_older_view)
    claimed = await scene.claim()
    with_messages = [task for task in claimed if task.messages]
    assert len(with_messages) == 4
    assert all([got.position for got in t.messages] == [1, 2] for t in with_messages)
    assert {task.run.run_key for task in claimed} < set(kinds)


def _without(row: Sequence[Any], before: int) -> tuple[Any, ...]:
    return (*row[:before], *(None for _ in row[before:]))


async def test_a_claim_amid_senders_brings_each_message_in_its_place(
    database: PostgresDatabase,
) -> None:
    scene = Scene(SqlRepository(database))
    runs: list[RunRecord] = [await scene.start_waiting() for _ in range(4)]
    taken = dict.fromkeys((run.run_key for run in runs), 0)

    async def send(run: RunRecord, sender: int) -> None:
        for number in range(15):
            await scene.send(message(run, f"{sender} {number}"))

    async def consume() -> None:
        while sum(taken.values()) < 4 * 2 * 15:
            for task in await scene.claim():
                positions = [got.position for got in task.messages]
                first = taken[task.run.run_key] + 1
                assert positions == list(range(first, first + len(positions)))
                taken[task.run.run_key] += len(positions)
                effects = Effects(RUNNING, NOW, following(task.run))
                through = positions[-1] if positions else None
                await scene.write(turn(task, effects, consumed_through=through))

    async with asyncio.timeout(50):
        await asyncio.gather(consume(), *(send(run, n) for run in runs for n in range(2)))


# --- activity tasks ------------------------------------------------------------------------------


async def claim_tasks_in_steps(database: PostgresDatabase, claim: ActivityClaim) -> ActivityTasks:
    outlook = await database.read(claims.look_for_tasks(database.statements, claim))
    tasks = await database.write(claims.claim_tasks(database.statements, claim))
    return ActivityTasks(tasks, outlook.next_due_at(len(tasks), claim.limit))


async def tasks_of_many_kinds(scene: Scene) -> dict[RunKey, str]:
    """Runs with tasks, by which of them they are."""
    moments = NOW - 3, NOW - 1, NOW - 2, NOW + 5
    runs = [await scene.start_with_tasks(scene.task(1, available_at=at)) for at in moments]
    begins_by = (replace(scene.task(n), start_by=NOW + by) for n, by in ((1, -1), (2, 3), (3, 9)))
    runs.append(await scene.start_with_tasks(*begins_by))
    leased = replace(scene.task(), leased=True)
    runs.append(await scene.start_with_tasks(leased, lease=NOW + LEASE))
    runs.append(await scene.start_with_tasks(leased, lease=NOW - 4))
    for outcome in ("fails", "is parked", "is parked and over"):
        runs.append(await scene.start_with_tasks(scene.task(1, available_at=NOW - LEASE)))
        task = await scene.claim_activity(now=NOW - LEASE)
        failed = failure(task, NOW - 7)
        until = NOW + 8 if outcome == "is parked" else NOW - 8
        parked = replace(failed, failure=None, retry_at=until, parked_until=until, details=b"far")
        assert await scene.complete(failed if outcome == "fails" else parked) == [WRITTEN]
    return {run.run_key: str(number) for number, run in enumerate(runs)}


@pytest.mark.parametrize("limit", [1, 2, 4, 6, 8, 100])
async def test_it_finds_the_tasks_that_a_look_and_a_claim_do(
    database: PostgresDatabase, limit: int
) -> None:
    found = []
    for claim_by in (claim_tasks_in_steps, claims.claim_tasks_at_once):
        scene = Scene(SqlRepository(database))
        kinds = await tasks_of_many_kinds(scene)
        for now in (NOW, NOW + 4, NOW + 3 * LEASE):
            claim = replace(scene.activity_claim(now=now), limit=limit)
            claimed = await claim_by(database, claim)
            alike = [
                replace(task, run_key=int(kinds[task.run_key]), workflow_id="", run_id="")
                for task in claimed.tasks
            ]
            rows = await rows_of_tasks(database, list(kinds))
            found.append((alike, claimed.next_due_at, rows))
            assert all(task.workflow_id and task.run_id for task in claimed.tasks)
    assert found[0][0]
    assert found[:3] == found[3:]


async def rows_of_tasks(database: PostgresDatabase, keys: list[RunKey]) -> list[Any]:
    names = [
        column.name for column in schema.tasks.columns if column.name not in ("run_key", "queue")
    ]
    query = f"SELECT {', '.join(names)} FROM tasks WHERE run_key = ANY($1) ORDER BY run_key, 1"

    def look() -> Transaction[list[Any]]:
        rows = yield Query(Statement(query, lambda _: (keys,)))
        return [tuple(row) for row in rows]

    return await database.read(look())
