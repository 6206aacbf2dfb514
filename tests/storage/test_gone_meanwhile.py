"""Runs come and go while somebody waits for one of them."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from loom.identifiers import RunId, WorkflowId, new_id
from loom.storage.records import RunRecord
from loom.storage.sql.schema import workflows
from loom.testing.conformance.chains import continue_run
from loom.testing.conformance.scene import ACCEPTED, Scene, message
from tests.conditions import eventually

_COPIED: Final = [column.name for column in workflows.columns if column.name != "run_key"]
_CHANGED: Final = {"workflow_id": "$2", "run_id": "$3", "closed_at": "$4::bigint"}


async def copy(rival: Any, run: RunRecord, to: WorkflowId, *, closed_at: int | None) -> RunId:
    """Write another run like that one."""
    run_id, names = new_id(), ", ".join(_COPIED)
    values = ", ".join(_CHANGED.get(name, name) for name in _COPIED)
    query = f"INSERT INTO workflows ({names}) SELECT {values} FROM workflows WHERE run_key = $1"
    await rival.execute(query, run.run_key, to, run_id, closed_at)
    return run_id


async def close(rival: Any, workflow_id: WorkflowId) -> None:
    await rival.execute("UPDATE workflows SET closed_at = 1 WHERE workflow_id = $1", workflow_id)


async def somebody_waits(rival: Any) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

    async def waits() -> bool:
        return bool(await rival.fetchval(f"{waiting} AND datname = current_database()"))

    await eventually(waits)


async def test_a_message_follows_a_run_that_was_continued_and_deleted_meanwhile(
    scene: Scene, rival: Any
) -> None:
    run = await continue_run(scene, await scene.start_waiting())
    async with rival.transaction():
        await rival.execute("SELECT 1 FROM workflows WHERE run_key = $1 FOR UPDATE", run.run_key)
        sending = asyncio.ensure_future(scene.send(message(run, "m")))
        await somebody_waits(rival)
        await close(rival, run.workflow_id)
        successor = await copy(rival, run, run.workflow_id, closed_at=None)
        await rival.execute("DELETE FROM workflows WHERE run_key = $1", run.run_key)
    assert await sending == [ACCEPTED]
    found = await scene.repository.find_run(run.workflow_id, successor)
    assert found is not None
    assert [got.message_id for got in await scene.inbox_of(found)] == ["m"]


async def test_an_open_run_is_found_whatever_has_begun_and_ended_while_it_was_started(
    scene: Scene, rival: Any
) -> None:
    like, workflow_id = await scene.start(), new_id()
    async with rival.transaction():
        await copy(rival, like, workflow_id, closed_at=None)
        starting = asyncio.ensure_future(scene.repository.start_runs([scene.new_run(workflow_id)]))
        await somebody_waits(rival)
        await close(rival, workflow_id)
        await copy(rival, like, workflow_id, closed_at=1)
    [outcome] = await starting
    assert outcome.created
    assert await scene.repository.find_run(workflow_id) == outcome.run
