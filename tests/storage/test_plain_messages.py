"""Messages are written in two ways, by the rules of the database or by those of ``RunState``: both
leave the same behind, and none is delivered twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from loom.storage.records import Effects, Message, RunRecord, SendOutcome
from loom.storage.sql import plain_messages, writes
from loom.storage.sql.dialects import Statement
from loom.storage.sql.postgres import PostgresDatabase
from loom.storage.sql.schema import metadata
from loom.storage.sql.transactions import Query, Rows, Transaction
from loom.testing.conformance.scene import (
    ACCEPTED,
    ALICE,
    BLOCKED,
    LEASE,
    NOW,
    RUNNING,
    Scene,
    consuming,
    following,
    message,
    turn,
)
from tests.conditions import eventually

ITS_OWN = {"run_key", "workflow_id", "run_id", "message_id"}


async def send_the_other_way(database: PostgresDatabase, sent: Message) -> SendOutcome:
    [outcome] = await database.write(writes.send_messages(database.statements, [sent], NOW))
    return outcome


async def rows_of(database: PostgresDatabase, run: RunRecord) -> list[dict[str, Any]]:
    """A run's row and its inbox, but for what no two runs have in common."""

    def look() -> Transaction[list[dict[str, Any]]]:
        found: list[dict[str, Any]] = []
        for table in ("workflows", "inbox"):
            names = [c.name for c in metadata.tables[table].columns if c.name not in ITS_OWN]
            query = f"SELECT {', '.join(names)} FROM {table} WHERE run_key = {run.run_key}"
            rows: Rows = yield Query(Statement(f"{query} ORDER BY 1, 2", lambda _: ()))
            found += [dict(zip(names, row, strict=True)) for row in rows]
        return found

    return await database.read(look())


async def a_run(scene: Scene, state: str) -> RunRecord:
    if state in ("begins later", "began"):
        starts_at = NOW + 50 if state == "begins later" else NOW - 50
        new = replace(scene.new_run(due_at=starts_at), start_at=starts_at)
        [outcome] = await scene.repository.start_runs([new])
        return outcome.run
    if state == "leased":
        return (await scene.start_claimed()).run
    if state == "leased and blocked":
        run = await a_run(scene, "blocked")
        return (await scene.claim_run(run, ALICE)).run
    if state == "blocked":
        task = await scene.start_claimed()
        effects = Effects(BLOCKED, NOW, following(task.run), wake_at=NOW + 5, blocked_reason="code")
        await scene.write(turn(task, effects))
        return await scene.look(task.run)
    wake_at = {"waits": None, "waits for a timer": NOW + 5, "is due": NOW - 5}[state]
    return await scene.start_waiting(wake_at=wake_at)


STATES = (
    "waits",
    "waits for a timer",
    "is due",
    "leased",
    "blocked",
    "leased and blocked",
    "begins later",
    "began",
)


@pytest.mark.parametrize("urgent", [False, True])
@pytest.mark.parametrize("by_run_id", [False, True])
@pytest.mark.parametrize("state", STATES)
async def test_both_ways_leave_the_same(
    database: PostgresDatabase, scene: Scene, state: str, by_run_id: bool, urgent: bool
) -> None:
    by_rule, by_state = [await a_run(scene, state) for _ in range(2)]
    for run in (by_rule, by_state):
        await scene.send(message(run, "an earlier one"))
        run_id = run.run_id if by_run_id else None
        sent = replace(message(run, "this one"), run_id=run_id, urgent=urgent)
        if run is by_rule:
            delivered = await plain_messages.send_plain_messages(database, [sent], NOW)
            assert delivered == {run.workflow_id}
        else:
            assert await send_the_other_way(database, sent) is ACCEPTED
    assert await rows_of(database, by_rule) == await rows_of(database, by_state)


async def test_what_is_not_plain_is_left_alone(database: PostgresDatabase, scene: Scene) -> None:
    waiting, answered = [await scene.start_waiting() for _ in range(2)]
    closed = await scene.start_closed()
    await scene.send(message(waiting, "again"))
    await scene.send(message(answered, "again"))
    await scene.write(consuming(await scene.claim_run(answered)))
    before = [await rows_of(database, run) for run in (waiting, closed, answered)]
    sent = [
        message(waiting, "again"),
        message(closed, "new"),
        message(answered, "again"),
        Message("nobody", "new", message(waiting, "").arrival),
    ]
    assert await plain_messages.send_plain_messages(database, sent, NOW) == set()
    wrong = replace(message(waiting, "new"), run_id=closed.run_id)
    assert await plain_messages.send_plain_messages(database, [wrong], NOW) == set()
    assert [await rows_of(database, run) for run in (waiting, closed, answered)] == before


async def somebody_waits(rival: Any) -> bool:
    ours = "FROM pg_stat_activity WHERE datname = current_database()"
    return bool(await rival.fetchval(f"SELECT count(*) {ours} AND wait_event_type = 'Lock'"))


async def test_a_message_that_came_while_the_run_was_waited_for_is_not_delivered_again(
    database: PostgresDatabase, scene: Scene, rival: Any
) -> None:
    run = await scene.start_waiting()
    same = message(run, "the same")
    async with rival.transaction():
        await rival.execute("SELECT 1 FROM workflows WHERE run_key = $1 FOR UPDATE", run.run_key)
        sending = asyncio.create_task(scene.send(same))
        await eventually(partial(somebody_waits, rival))
        # As another sender of it would have done, who had the lock first.
        counted = "UPDATE workflows SET inbox_count = 1, due_at = $2 WHERE run_key = $1"
        await rival.execute(counted, run.run_key, NOW)
        put = "INSERT INTO inbox VALUES ($1, 1, 'the same', 'SIGNAL_RECEIVED', 1, '', NULL)"
        await rival.execute(put, run.run_key)
    assert await sending == [ACCEPTED]
    assert [got.position for got in await scene.inbox_of(run)] == [1]


async def test_many_senders_of_the_same_deliver_it_once(
    database: PostgresDatabase, scene: Scene
) -> None:
    for number in range(10):
        run = await scene.start_waiting()
        task = await scene.claim_run(run)
        same = message(run, f"message {number}")
        keeping = Effects(RUNNING, NOW, following(task.run), lease_expires_at=NOW + LEASE)
        outcomes = await asyncio.gather(
            *(scene.send(same) for _ in range(5)),
            scene.send(message(run, f"another {number}")),
            scene.write(turn(task, keeping)),
        )
        assert outcomes[:6] == [[ACCEPTED]] * 6
        got = await scene.inbox_of(run)
        assert [each.position for each in got] == [1, 2]
        assert {each.message_id for each in got} == {same.message_id, f"another {number}"}
