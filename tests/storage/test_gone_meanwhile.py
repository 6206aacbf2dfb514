"""A run that somebody has found may be gone before he has locked it: what was for it goes to the
run that continues it, and is not taken for something to nobody."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from loom.identifiers import RunId, new_id
from loom.storage.records import RunRecord
from loom.storage.sql.schema import workflows
from loom.testing.conformance.chains import continue_run
from loom.testing.conformance.scene import ACCEPTED, Scene, message
from tests.conditions import eventually

_COPIED: Final = [column.name for column in workflows.columns if column.name != "run_key"]


async def continued_and_deleted(rival: Any, run: RunRecord) -> RunId:
    """The run that continues it, once it is gone."""
    successor, key = new_id(), run.run_key
    into = ", ".join(_COPIED)
    copied = into.replace("run_id", "$2", 1).replace("closed_at", "NULL::bigint")
    await rival.execute("UPDATE workflows SET closed_at = 1 WHERE run_key = $1", key)
    await rival.execute(
        f"INSERT INTO workflows ({into}) SELECT {copied} FROM workflows WHERE run_key = $1",
        *(key, successor),
    )
    await rival.execute("DELETE FROM workflows WHERE run_key = $1", key)
    return successor


async def test_a_message_follows_a_run_that_was_continued_and_deleted_meanwhile(
    scene: Scene, rival: Any
) -> None:
    run = await continue_run(scene, await scene.start_waiting())
    async with rival.transaction():
        await rival.execute("SELECT 1 FROM workflows WHERE run_key = $1 FOR UPDATE", run.run_key)
        sending = asyncio.ensure_future(scene.send(message(run, "m")))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

        async def waits() -> bool:
            here = f"{waiting} AND datname = current_database()"
            return bool(await rival.fetchval(here))

        await eventually(waits)
        successor = await continued_and_deleted(rival, run)
    assert await sending == [ACCEPTED]
    found = await scene.repository.find_run(run.workflow_id, successor)
    assert found is not None
    assert [got.message_id for got in await scene.inbox_of(found)] == ["m"]
