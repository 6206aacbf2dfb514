"""Activities in processes of their own: cores of their own, and an end when they are called off."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import loom
from tests.acceptance import process_activities as activities
from tests.conditions import eventually

type Context = loom.WorkflowContext[Any, Any]

ALL = [value for value in vars(activities).values() if hasattr(value, "__loom_activity__")]


def calling(activity: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    @loom.workflow(name="Calling")
    class Calling(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> Any:
            try:
                return await ctx.activity(activity, *args, **kwargs)
            except loom.ActivityTimeoutError as error:
                return str(error.timeout)
            except loom.ActivityFailedError as error:
                return [error.cause_type, error.cause_message, error.details]

    return Calling


async def call(dsn: str, activity: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    workflow = calling(activity, *args, **kwargs)
    async with loom.Loom(dsn) as app, app.worker(workflows=[workflow], activities=ALL):
        return await (await app.start(workflow)).result(30)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        # The latter when it goes between the two.
        return False


async def process_of(path: Path) -> int:
    await eventually(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


async def test_it_runs_in_another_process_with_its_own_types(any_dsn: str) -> None:
    @loom.workflow
    class Calling(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> list[Any]:
            first = await ctx.activity(activities.report, "a b", upper=True)
            second = await ctx.activity(activities.report, "c")
            return [first.process, first.parts, second.process]

    async with loom.Loom(any_dsn) as app, app.worker(workflows=[Calling], activities=ALL):
        first, parts, second = await (await app.start(Calling)).result(30)
        assert parts == ["A", "B"]
        # One process serves one call after the other.
        assert first == second != os.getpid()
    await eventually(lambda: not is_alive(first))


async def test_several_run_at_a_time_and_no_more_than_allowed(memory_dsn: str) -> None:
    @loom.workflow
    class Calling(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> int:
            calls = (ctx.activity(activities.report, str(n)) for n in range(12))
            return len({report.process for report in await asyncio.gather(*calls)})

    settings = loom.Settings(processes=2)
    async with (
        loom.Loom(memory_dsn, settings=settings) as app,
        app.worker(workflows=[Calling], activities=ALL),
    ):
        assert 1 <= await (await app.start(Calling)).result(30) <= 2


async def test_it_knows_which_attempt_it_is(memory_dsn: str) -> None:
    told = await call(memory_dsn, activities.tell)
    assert told[:2] == ["tell", 1]
    assert told[3:] == [False, True]


@pytest.mark.parametrize(
    ("kind", "cause", "message", "details"),
    [
        ("error", "loom.errors.ActivityError", "no", {"code": 7}),
        ("unsendable", "RuntimeError", "Unsendable: 1 and 2", None),
        ("exit", "SystemExit", "3", None),
        ("stop", "RuntimeError", "The activity raised StopIteration: ", None),
        ("death", "loom.errors.LoomError", "ended with code -9", None),
        ("lambda", None, "pickle", None),
    ],
)
async def test_whatever_it_raises_fails_it_and_nothing_else(
    memory_dsn: str, kind: str, cause: str | None, message: str, details: Any
) -> None:
    told = await call(memory_dsn, activities.raise_what, kind)
    assert told[0] == cause or cause is None
    assert message in told[1]
    assert told[2] == details


async def test_its_heartbeats_reach_the_next_attempt(memory_dsn: str, tmp_path: Path) -> None:
    assert await call(memory_dsn, activities.count, str(tmp_path / "begun")) == 10


async def test_it_may_be_completed_later(memory_dsn: str) -> None:
    workflow = calling(activities.later)
    async with loom.Loom(memory_dsn) as app, app.worker(workflows=[workflow], activities=ALL):
        handle = await app.start(workflow)

        async def is_parked() -> bool:
            return any(activity.is_parked for activity in (await handle.info()).activities)

        await eventually(is_parked)
        await handle.cancel()


async def test_cancelling_kills_it(any_dsn: str, tmp_path: Path) -> None:
    await call_off(any_dsn, "cancelled", tmp_path / "process")


@pytest.mark.parametrize("how", ["terminated", "stopped"])
async def test_it_is_killed_however_it_is_called_off(
    memory_dsn: str, how: str, tmp_path: Path
) -> None:
    await call_off(memory_dsn, how, tmp_path / "process")


async def call_off(dsn: str, how: str, path: Path) -> None:
    workflow = calling(activities.endless, str(path))
    settings = loom.Settings(shutdown_grace_seconds=0.1)
    async with loom.Loom(dsn, settings=settings) as app:
        worker = app.worker(activities=ALL)
        async with app.worker(workflows=[workflow]), worker:
            handle = await app.start(workflow)
            process = await process_of(path)
            if how == "cancelled":
                await handle.cancel()
            elif how == "terminated":
                await handle.terminate()
            else:
                await worker.close()
            await eventually(lambda: not is_alive(process))


@pytest.mark.parametrize("which", ["start_to_close", "heartbeat"])
async def test_it_is_killed_when_it_runs_out_of_time(
    memory_dsn: str, which: str, tmp_path: Path
) -> None:
    path = tmp_path / "process"
    slow = activities.too_slow if which == "start_to_close" else activities.too_silent
    assert await call(memory_dsn, slow, str(path)) == which
    if path.exists():
        process = await process_of(path)
        await eventually(lambda: not is_alive(process))


async def test_threads_that_it_leaves_behind_disturb_neither_its_end_nor_the_next_call(
    memory_dsn: str,
) -> None:
    @loom.workflow
    class Calling(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> list[Any]:
            large = await ctx.activity(activities.leave_a_beating_thread, 1.0)
            return [len(large), await ctx.activity(activities.hear)]

    async with loom.Loom(memory_dsn) as app, app.worker(workflows=[Calling], activities=ALL):
        assert await (await app.start(Calling)).result(60) == [2_000_000, None]


def test_what_cannot_be_imported_by_a_process_is_refused() -> None:
    with pytest.raises(loom.DefinitionError, match="at the top level of its module"):

        @loom.activity(executor="process")
        def local() -> None: ...


def test_an_async_function_needs_no_executor() -> None:
    with pytest.raises(loom.DefinitionError, match="for plain functions"):

        @loom.activity(executor="thread")
        async def on_the_loop() -> None: ...


def test_an_unknown_executor_is_refused() -> None:
    executor: Any = "gpu"
    with pytest.raises(loom.DefinitionError, match="'thread' or 'process', not 'gpu'"):

        @loom.activity(executor=executor)
        def drawn() -> None: ...
