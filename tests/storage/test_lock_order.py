"""Whoever waits for a run's row has changed none yet. To start a run is to wait for whoever is
changing the open one of its workflow id, perhaps with the very row locked that he waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from loom.storage.records import ActivityTask, Effects, WorkflowTask
from loom.testing.conformance.scene import (
    COMPLETED,
    NOW,
    Scene,
    closing,
    completion,
    following,
    message,
    turn,
)
from tests.conditions import eventually

PATIENCE = 5.0

type Change = Callable[[Scene, Sequence[WorkflowTask], Sequence[ActivityTask]], Awaitable[Any]]


async def turns(scene: Scene, runs: Sequence[WorkflowTask], _: object) -> None:
    await scene.write(*map(closing, runs))


async def turns_that_reach_out(scene: Scene, runs: Sequence[WorkflowTask], _: object) -> None:
    one, other = runs
    told = [message(other.run, "m")]
    await scene.write(turn(one, Effects(COMPLETED, NOW, events=following(one.run), messages=told)))


async def messages(scene: Scene, runs: Sequence[WorkflowTask], _: object) -> None:
    await scene.send(*(message(task.run, "m") for task in runs))


async def completions(scene: Scene, _: object, tasks: Sequence[ActivityTask]) -> None:
    await scene.complete(*map(completion, tasks))


@pytest.mark.parametrize("change", [turns, turns_that_reach_out, messages, completions])
async def test_who_waits_for_a_run_has_changed_none(
    scene: Scene, rival: Any, change: Change
) -> None:
    found = [await scene.start_with_tasks(scene.task()) for _ in range(2)]
    tasks = await scene.claim_activities()
    runs = [await scene.claim_run(run) for run in found]
    async with rival.transaction():
        key = max(run.run_key for run in found)
        await rival.execute("SELECT 1 FROM workflows WHERE run_key = $1 FOR UPDATE", key)
        changing = asyncio.ensure_future(change(scene, runs, tasks))
        waiting = "FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

        async def waits() -> bool:
            here = f"{waiting} AND datname = current_database()"
            return bool(await rival.fetchval(f"SELECT count(*) {here}"))

        await eventually(waits)
        async with asyncio.timeout(PATIENCE):
            again = scene.new_run(found[0].workflow_id)
            [outcome] = await scene.repository.start_runs([again])
        assert not outcome.created
    await changing
