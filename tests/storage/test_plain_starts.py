"""Runs are started in two ways, without a look at what is there or with one: both leave the same
behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from loom.history.status import RunStatus
from loom.storage.records import Effects, Message, NewRun, NewTask, StartOutcome
from loom.storage.sql import plain_starts, starts
from loom.storage.sql.sqlite import SqliteDatabase
from loom.storage.sql.transactions import Database
from loom.testing.conformance.scene import ALICE, LEASE, NOW, Scene, arrival
from tests.storage.test_plain_turns import Fields, rows_of

EFFECTS: dict[str, Fields] = {
    "for anybody": {},
    "due later": {"wake_at": NOW + 5},
    "kept": {"lease_expires_at": NOW + LEASE},
    "with a task for anybody": {"tasks": [NewTask(3, 2, "pay", "q", NOW, start_by=NOW + 9)]},
    "with a task of its own": {
        "tasks": [NewTask(3, 2, "pay", "q", NOW, leased=True)],
        "task_lease_expires_at": NOW + LEASE,
        "lease_expires_at": NOW + LEASE,
    },
}


@pytest.fixture
def database(any_database: Database) -> Database:
    return any_database


def a_run(scene: Scene, name: str, messages: int) -> NewRun:
    new = scene.new_run(owner=ALICE)
    own = [Message(new.workflow_id, str(n), arrival()) for n in range(messages)]
    effects = Effects(
        **{"status": RunStatus.RUNNING, "recorded_at": NOW, **EFFECTS[name]},
        events=new.effects.events,
        messages=own,
    )
    return replace(new, effects=effects)


async def start_the_other_way(database: Database, runs: Sequence[NewRun]) -> list[StartOutcome]:
    return await database.write(starts.start_runs(database.statements, runs))


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("messages", [0, 2])
async def test_both_ways_leave_the_same(
    database: Database, scene: Scene, name: str, messages: int
) -> None:
    # So many that some are written together and some alone.
    ours, theirs = ([a_run(scene, name, messages) for _ in range(75)] for _ in range(2))
    assert plain_starts.are_plain(ours)
    started = await plain_starts.start_plain_runs(database, ours)
    others = {new.run_id: new for new in theirs}
    for outcome in await start_the_other_way(database, theirs):
        others.pop(outcome.run.run_id)
        twin = started[ours[len(others)].run_id]
        assert twin.created
        assert await rows_of(database, twin) == await rows_of(database, outcome)
        assert await scene.look(twin.run) == twin.run


async def test_a_batch_with_a_run_that_cannot_be_started_leaves_nothing_of_that_one(
    database: Database, scene: Scene
) -> None:
    standing = await scene.start()
    good, taken = a_run(scene, "kept", 1), a_run(scene, "kept", 1)
    taken = replace(taken, workflow_id=standing.workflow_id)
    started = await plain_starts.start_plain_runs(database, [taken, good])
    # SQLite starts all of them or none.
    assert started.keys() == (set() if isinstance(database, SqliteDatabase) else {good.run_id})
    outcomes = await scene.repository.start_runs([taken, good])
    assert [outcome.created for outcome in outcomes] == [False, True]
    assert outcomes[0].run.run_id == standing.run_id
    assert await scene.repository.find_run(taken.workflow_id, taken.run_id) is None


async def test_the_key_of_a_run_that_is_gone_is_never_given_out_again(
    database: Database, scene: Scene
) -> None:
    closed = await scene.start_closed()
    assert await scene.repository.delete_runs([closed.run_key]) == 1
    [outcome] = (await plain_starts.start_plain_runs(database, [a_run(scene, "kept", 0)])).values()
    assert outcome.run.run_key > closed.run_key
