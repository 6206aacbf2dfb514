"""Turns are written in two ways, by the rules of the database or by those of ``RunState``: both
leave the same behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loom.history.status import RunStatus
from loom.storage.records import (
    Effects,
    NewTask,
    StartOutcome,
    Transition,
    WorkflowTask,
    WriteOutcome,
)
from loom.storage.sql import turns, writes
from loom.storage.sql.dialects import Statement
from loom.storage.sql.schema import metadata
from loom.storage.sql.transactions import Database, Query, Rows, Transaction
from loom.testing.conformance.scene import ALICE, LEASE, NOW, Scene, following, message, turn

TABLES = ("workflows", "events", "tasks", "inbox")
ITS_OWN = {"run_key", "workflow_id", "run_id"}

type Fields = dict[str, Any]

EFFECTS: dict[str, Fields] = {
    "given back": {},
    "given back until a timer": {"wake_at": NOW + 5},
    "kept": {"lease_expires_at": NOW + 2 * LEASE},
    "kept for no longer than before": {"lease_expires_at": NOW + LEASE // 2},
    "blocked": {"status": RunStatus.BLOCKED, "wake_at": NOW + 7, "blocked_reason": "code"},
    "closed": {"status": RunStatus.COMPLETED},
    "with a task for anybody": {"tasks": [NewTask(3, 2, "pay", "q", NOW, start_by=NOW + 9)]},
    "with a task of its own": {
        "tasks": [NewTask(3, 2, "pay", "q", NOW, leased=True)],
        "task_lease_expires_at": NOW + LEASE,
        "lease_expires_at": NOW + LEASE,
    },
    "with an activity's end": {"finished_tasks": [1]},
}


@pytest.fixture
def database(any_database: Database) -> Database:
    return any_database


async def write_the_other_way(database: Database, transition: Transition) -> WriteOutcome:
    [outcome] = await database.write(writes.write_transitions(database.statements, [transition]))
    return outcome


async def a_run_with(scene: Scene, messages: int) -> WorkflowTask:
    """Claimed from somebody who was lost, with two tasks that are anybody's."""
    tasks = [NewTask(n, 1, "pay", scene.queue, NOW) for n in (1, 2)]
    run = await scene.start_with_tasks(*tasks)
    await scene.send(*(message(run, f"{run.run_id} {n}") for n in range(messages)))
    await scene.claim_run(run, "bob", NOW - LEASE)
    return await scene.claim_run(run, ALICE)


async def rows_of(database: Database, task: WorkflowTask | StartOutcome) -> dict[str, Any]:
    """All that there is of a run, but for what no two runs have in common."""

    def look() -> Transaction[dict[str, Any]]:
        found = {}
        for table in TABLES:
            names = [column.name for column in metadata.tables[table].columns]
            shown = [name for name in names if name not in ITS_OWN and name != "message_id"]
            query = f"SELECT {', '.join(shown)} FROM {table} WHERE run_key = {task.run.run_key}"
            rows: Rows = yield Query(Statement(f"{query} ORDER BY 1, 2", lambda _: ()))
            found[table] = [dict(zip(shown, row, strict=True)) for row in rows]
        return found

    return await database.read(look())


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize(("messages", "consumed"), [(0, 0), (2, 1), (2, 2)])
async def test_both_ways_leave_the_same(
    database: Database, scene: Scene, name: str, messages: int, consumed: int
) -> None:
    by_rule, by_state = [await a_run_with(scene, messages) for _ in range(2)]
    for task in (by_rule, by_state):
        fields = {"status": RunStatus.RUNNING, "recorded_at": NOW + 1, **EFFECTS[name]}
        effects = Effects(events=following(task.run), **fields)
        transition = turn(task, effects, consumed_through=consumed or None)
        if task is by_rule:
            assert turns.are_plain([transition])
            # Whoever closes with messages unread is asked to go the other way.
            if await turns.write_plain_turns(database, [transition]):
                continue
            assert messages > consumed
            assert not effects.status.is_open
        assert await write_the_other_way(database, transition) is WriteOutcome.WRITTEN
    assert await rows_of(database, by_rule) == await rows_of(database, by_state)


async def test_of_turns_that_are_lost_nothing_is_written(database: Database, scene: Scene) -> None:
    good, stale, late = [await a_run_with(scene, 0) for _ in range(3)]
    transitions = [turn(task) for task in (good, stale, late)]
    await scene.write(transitions[1])
    await scene.claim_run(late.run, "bob", NOW + 2 * LEASE)
    before = [await rows_of(database, task) for task in (stale, late)]
    # SQLite writes all of them or none.
    assert await turns.write_plain_turns(database, transitions) <= {good.run.run_key}
    assert [await rows_of(database, task) for task in (stale, late)] == before


async def test_messages_that_come_while_runs_are_closed_are_not_left_behind(
    database: Database, scene: Scene
) -> None:
    for attempt in range(20):
        tasks = [await a_run_with(scene, 0) for _ in range(4)]
        closing = [turn(t, Effects(RunStatus.COMPLETED, NOW)) for t in tasks]
        sending = [
            scene.send(*(message(task.run, f"{attempt} {n}") for task in tasks)) for n in range(4)
        ]
        await asyncio.gather(*sending, scene.write(*closing))
        for task in tasks:
            assert (await rows_of(database, task))["inbox"] == []
            assert (await scene.look(task.run)).status is RunStatus.COMPLETED
