"""Runs and activities that no worker serves show up as such."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

import loom
from loom.runner import obstacles
from tests.conditions import cut_off, eventually

type Context = loom.WorkflowContext[Any, Any]


@loom.activity
async def pack() -> str:
    return "packed"


@loom.workflow(name="Sending", version="2")
class Sending(loom.Workflow[None, None]):
    async def run(self, ctx: Context) -> str:
        await ctx.wait_for_signal("go")
        return await ctx.activity(pack)


async def is_idle(handle: loom.WorkflowHandle[Any]) -> bool:
    info = await handle.info()
    return bool(info.history_length) and info.worker is None


async def test_a_run_that_no_worker_has_is_waiting_for_one(app: loom.Loom) -> None:
    handle = await app.start(Sending)
    info = await handle.info()
    assert info.waiting_for_worker_since == info.created_at
    (listed,) = await app.list()
    assert listed.waiting_for_worker_since == info.created_at


async def test_who_waits_for_a_run_that_no_worker_takes_is_told(
    app: loom.Loom, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obstacles, "PROMPT", 0)
    handle = await app.start(Sending, id="forgotten")
    with caplog.at_level(logging.WARNING, "loom.client"):
        waiting = asyncio.create_task(handle.result())
        await eventually(lambda: bool(_told(caplog)))
        async with app.worker(workflows=[Sending], activities=[pack]):
            await handle.signal("go")
            assert await waiting == "packed"
    (told,) = _told(caplog)
    assert told.startswith("workflow forgotten, whose result is waited for, has not been taken")
    assert "the queue 'default' with 'Sending', version '2'" in told


async def test_who_waits_for_a_run_that_is_blocked_is_told(
    app: loom.Loom, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obstacles, "PROMPT", 0)
    with caplog.at_level(logging.WARNING, "loom.client"):
        async with app.worker(workflows=[Careless]):
            handle = await app.start(Careless, id="careless")
            await eventually(lambda: _is_blocked(handle))
        waiting = asyncio.create_task(handle.result())
        await eventually(lambda: bool(_told(caplog)))
        async with app.worker(workflows=[Careful]):
            assert await waiting == "careful"
    (told,) = _told(caplog)
    assert told.startswith("workflow careless, whose result is waited for, is BLOCKED")
    assert "time.time()" in told


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "loom.client"]


async def _is_blocked(handle: loom.WorkflowHandle[Any]) -> bool:
    return await handle.status() is loom.RunStatus.BLOCKED


@loom.workflow(name="Careless")
class Careless(loom.Workflow[None, None]):
    async def run(self, ctx: Context) -> str:
        return str(time.time())


@loom.workflow(name="Careless")
class Careful(loom.Workflow[None, None]):
    async def run(self, ctx: Context) -> str:
        return "careful"


async def test_a_run_that_waits_for_a_signal_waits_for_no_worker(app: loom.Loom) -> None:
    async with app.worker(workflows=[Sending], activities=[pack]):
        handle = await app.start(Sending)
        await eventually(lambda: is_idle(handle))
    assert (await handle.info()).waiting_for_worker_since is None
    await handle.signal("go")
    info = await handle.info()
    assert info.waiting_for_worker_since is not None
    assert info.waiting_for_worker_since >= info.updated_at


async def test_an_activity_that_no_worker_has_is_waiting_for_one(app: loom.Loom) -> None:
    async with app.worker(workflows=[Sending]):
        handle = await app.start(Sending)
        await handle.signal("go")
        await eventually(lambda: _has_activities(handle))
        info = await handle.info()
    (activity,) = info.activities
    assert activity.waiting_for_worker_since == activity.available_at
    assert info.waiting_for_worker_since is None


async def _has_activities(handle: loom.WorkflowHandle[Any]) -> bool:
    return bool((await handle.info()).activities)


async def test_a_closed_run_waits_for_no_worker(app: loom.Loom) -> None:
    handle = await app.start(Sending)
    await handle.terminate()
    assert (await handle.info()).waiting_for_worker_since is None


async def test_what_a_dead_worker_held_waits_from_the_end_of_its_lease(any_dsn: str) -> None:
    settings = loom.Settings(lease_seconds=0.5)
    async with loom.Loom(any_dsn, settings=settings) as app:
        worker = app.worker(workflows=[Frozen], activities=[freeze])
        async with worker:
            handle = await app.start(Frozen)
            await eventually(lambda: _has_activities(handle))
            assert (await handle.info()).waiting_for_worker_since is None
            cut_off(worker)
            await eventually(lambda: _is_waiting(handle))
        (activity,) = (await handle.info()).activities
        assert activity.worker is not None
        assert activity.waiting_for_worker_since is not None


async def _is_waiting(handle: loom.WorkflowHandle[Any]) -> bool:
    info = await handle.info()
    return bool(
        info.waiting_for_worker_since
        and info.activities
        and info.activities[0].waiting_for_worker_since
    )


@loom.activity
async def freeze() -> None:
    await eventually(lambda: False)


@loom.workflow
class Frozen(loom.Workflow[None, None]):
    async def run(self, ctx: Context) -> None:
        await ctx.activity(freeze)
