"""Chains whose first runs have been deleted are found by all who knew those."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import loom
from loom import RunStatus
from loom.storage.records import RunFilter
from loom.storage.store import open_store
from tests.conditions import eventually


@loom.workflow
class Child(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        if ctx.input != "last":
            ctx.continue_as_new("last")
        await ctx.wait_for_signal("go")
        return "child"

    @loom.update
    def ask(self, text: str) -> str:
        return text.upper()

    @loom.query
    def look(self) -> str:
        return "there"


@loom.workflow
class Parent(loom.Workflow[int, None]):
    """Starts its child in the second of three runs."""

    async def run(self, ctx: loom.WorkflowContext[int, None]) -> str:
        if ctx.input == 1:
            await ctx.start_child(Child, "last", id="kid")
        if ctx.input < 2:
            ctx.continue_as_new(ctx.input + 1)
        return await ctx.inherited_child("kid", Child).result()


@loom.workflow
class Mother(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> str:
        await ctx.start_child(Child, "first", id="kid")
        await ctx.wait_for_signal("end")
        return "mother"


WORKFLOWS = (Child, Parent, Mother)


async def delete_closed(dsn: str, workflow_id: str, count: int) -> None:
    """Delete the closed runs of that id, as soon as there are so many."""
    store = await open_store(dsn)
    try:
        closed = RunFilter(workflow_id=workflow_id, is_open=False)
        await eventually(lambda: has(store.repository.count_runs(closed), count))
        runs = await store.repository.list_runs(closed)
        assert await store.repository.delete_runs([run.run_key for run in runs]) == count
    finally:
        await store.close()


async def has(answer: Any, wanted: int) -> bool:
    return bool(await answer == wanted)


async def test_a_parent_hears_of_its_child_although_the_run_that_started_it_is_gone(
    any_dsn: str,
) -> None:
    async with loom.Loom(any_dsn) as app, app.worker(workflows=WORKFLOWS):
        parent = await app.start(Parent, 0, id="parent")
        await delete_closed(any_dsn, "parent", 2)
        await eventually(lambda: has(app.count(id="kid"), 1))
        await app.handle("kid").signal("go")
        assert await parent.result(30) == "child"


async def test_a_child_hears_of_its_parents_end_although_its_first_run_is_gone(
    any_dsn: str,
) -> None:
    async with loom.Loom(any_dsn) as app, app.worker(workflows=WORKFLOWS):
        mother = await app.start(Mother)
        await delete_closed(any_dsn, "kid", 1)
        await mother.signal("end")
        assert await mother.result(30) == "mother"
        with pytest.raises(loom.WorkflowTerminatedError):
            await app.handle("kid").result(30)


async def test_the_handle_of_a_start_reaches_the_run_that_is_open(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app, app.worker(workflows=WORKFLOWS):
        handle = await app.start(Child, "first", id="kid")
        await delete_closed(any_dsn, "kid", 1)
        assert await handle.update(Child.ask, "a") == "A"
        assert await handle.query(Child.look) == "there"
        with pytest.raises(loom.WorkflowNotFoundError):
            await handle.info()
        await handle.signal("go")
        assert await handle.result(30) == "child"
        with pytest.raises(loom.WorkflowClosedError):
            await handle.signal("go")


async def test_the_handle_of_a_start_ends_the_run_that_is_open(any_dsn: str) -> None:
    async with loom.Loom(any_dsn) as app, app.worker(workflows=WORKFLOWS):
        handle = await app.start(Child, "first", id="kid")
        await delete_closed(any_dsn, "kid", 1)
        await handle.terminate()
        [run] = await app.list(id="kid")
        assert run.status is RunStatus.TERMINATED


@loom.workflow
class Counting(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> str:
        await ctx.wait_for_signal("on")
        if ctx.input:
            ctx.continue_as_new(ctx.input - 1)
        return "end"


async def delete_run(dsn: str, workflow_id: str, run_id: str) -> None:
    store = await open_store(dsn)
    try:
        run = await store.repository.find_run(workflow_id, run_id)
        assert run is not None
        assert await store.repository.delete_runs([run.run_key]) == 1
    finally:
        await store.close()


async def test_the_handle_of_a_later_run_gets_the_result_although_what_follows_it_is_gone(
    any_dsn: str,
) -> None:
    async with loom.Loom(any_dsn) as app, app.worker(workflows=[Counting]):
        await app.start(Counting, 3, id="c")
        for length in (2, 3, 4):
            await app.handle("c").signal("on")
            await eventually(partial(has_runs, app, length))
        _, third, second, _ = await app.list(id="c")
        await delete_run(any_dsn, "c", third.run_id)
        await app.handle("c").signal("on")
        assert await app.handle("c", run_id=second.run_id).result(30) == "end"


async def test_a_chain_that_has_ended_is_found_also_when_its_id_is_used_again(
    any_dsn: str,
) -> None:
    async with loom.Loom(any_dsn) as app, app.worker(workflows=[Counting]):
        handle = await app.start(Counting, 1, id="c")
        await handle.signal("on")
        await eventually(partial(has_runs, app, 2))
        await handle.signal("on")
        assert await handle.result(30) == "end"
        assert handle.run_id is not None
        await delete_run(any_dsn, "c", handle.run_id)
        await app.start(Counting, 1, id="c")
        assert await handle.result(30) == "end"
        for refused in (handle.signal("on"), handle.terminate()):
            with pytest.raises(loom.WorkflowClosedError):
                await refused


async def has_runs(app: loom.Loom, count: int) -> bool:
    return await app.count(id="c") == count
