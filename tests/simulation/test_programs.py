"""Whatever commit a worker dies at, and however often runs are evicted, a program ends the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings

import loom
from loom.testing import WorkflowEnvironment
from loom.testing.crashes import CommitWatch, CrashMoment, CrashPoint, watched
from tests.simulation.programs import EVERYTHING, Node, Program, chains, programs, wanted
from tests.simulation.world import ACTIVITIES, WORLD

PROGRAMS = settings.default.max_examples
"""How many the profile asks for where each is quick. Here each is run many times over."""

type Outcome = tuple[Any, list[str]]
"""A program's result, and all that it did to the world."""


async def play(program: Node, dsn: str = "memory://", **options: Any) -> Outcome:
    """Run a program to its end, sending it what it waits for."""
    WORLD.clear()
    environment = WorkflowEnvironment(
        workflows=[Program],
        activities=ACTIVITIES,
        settings=loom.Settings(**options),
        dsn=dsn,
    )
    async with environment as env:
        handle = await env.start(Program, program)
        for number, (kind, value) in enumerate(wanted(program)):
            if kind == "update":
                assert await handle.update(Program.change, value) == value + 1
            else:
                name = f"signal-{value}" if kind == "signal" else "flag"
                await handle.signal(name, value, request_id=str(number))
        result = await handle.result()
        await check_histories(env)
        return result, sorted(WORLD.done.values())


async def check_histories(env: WorkflowEnvironment) -> None:
    """Every run, successors and children included, has ended and replays."""
    replayer = loom.Replayer(workflows=[Program])
    for info in await env.list():
        assert not info.status.is_open
        handle = env.handle(info.workflow_id, run_id=info.run_id)
        replayer.replay(await handle.export()).raise_for_error()


def played(
    program: Node, watch: CommitWatch | None = None, dsn: str = "memory://", **options: Any
) -> Outcome:
    with watched(watch or CommitWatch()):
        return asyncio.run(play(program, dsn, **options))


@pytest.mark.timeout(600)
@given(programs() | chains())
@settings(max_examples=PROGRAMS // 5)
def test_a_program_ends_the_same_when_no_run_stays_in_memory(program: Node) -> None:
    assert played(program, max_cached_runs=0) == played(program)


@pytest.mark.timeout(600)
@given(programs() | chains())
@example(EVERYTHING)
@settings(max_examples=PROGRAMS // 12)
def test_a_program_ends_the_same_whatever_commit_its_worker_dies_at(program: Node) -> None:
    whole = CommitWatch()
    expected = played(program, whole)
    for commit in range(1, len(whole.commits) + 1):
        for moment in CrashMoment:
            watch = CommitWatch(CrashPoint(commit, moment))
            assert played(program, watch) == expected, watch.commits


@pytest.mark.timeout(300)
def test_all_that_there_is_ends_the_same_on_a_database(dsn: str) -> None:
    """Every third commit: each store is held to the reference by the conformance suite."""
    whole = CommitWatch()
    expected = played(EVERYTHING, whole, dsn)
    for commit in range(1, len(whole.commits) + 1, 3):
        for moment in CrashMoment:
            watch = CommitWatch(CrashPoint(commit, moment))
            assert played(EVERYTHING, watch, dsn) == expected, watch.commits
