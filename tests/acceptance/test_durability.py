"""Nothing is acknowledged, and nothing begins, before what it depends on is in the database: seen
through connections of somebody else, who is shown nothing that has not been committed."""

from __future__ import annotations

from typing import Any

import loom

_onlookers: list[loom.Loom] = []


async def _seen_of(workflow_id: str) -> list[str]:
    [onlooker] = _onlookers
    return [event.type for event in await onlooker.handle(workflow_id).history()]


@loom.activity
async def look(workflow_id: str) -> list[str]:
    return await _seen_of(workflow_id)


@loom.workflow
class Looking(loom.Workflow[int, Any]):
    """Its activities tell what others could read of its history when they began."""

    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> list[list[str]]:
        seen = [await ctx.activity(look, "looking") for _ in range(ctx.input)]
        await ctx.wait_for_signal("go")
        return seen


async def test_nothing_is_acknowledged_before_it_is_durable(dsn: str) -> None:
    async with loom.Loom(dsn) as onlooker, loom.Loom(dsn) as app:
        _onlookers[:] = [onlooker]
        async with app.worker(workflows=[Looking], activities=[look]):
            handle = await app.start(Looking, 3, id="looking")
            assert (await _seen_of("looking"))[:2] == ["WORKFLOW_STARTED", "ACTIVITY_SCHEDULED"]
            await handle.signal("go")
            seen = await handle.result(30)
            assert (await _seen_of("looking"))[-1] == "WORKFLOW_COMPLETED"
        for number, history in enumerate(seen, 1):
            # The signal may come between any of them.
            own = [event for event in history if event != "SIGNAL_RECEIVED"]
            assert own[-1] == "ACTIVITY_SCHEDULED"
            assert history.count("ACTIVITY_SCHEDULED") == number
            assert history.count("ACTIVITY_COMPLETED") == number - 1


async def test_a_signal_is_durable_when_it_is_sent(dsn: str) -> None:
    async with loom.Loom(dsn) as onlooker:
        async with loom.Loom(dsn) as app:
            handle = await app.start(Looking, 0, id="looking")
            await handle.signal("go")
        # Whoever sent it is gone.
        _onlookers[:] = [onlooker]
        async with onlooker.worker(workflows=[Looking], activities=[look]):
            assert await onlooker.handle("looking").result(30) == []
