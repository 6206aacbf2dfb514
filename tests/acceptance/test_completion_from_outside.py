"""An activity that somebody else completes, long after its worker has let go of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

import loom
from tests.conditions import cut_off, eventually, given_time
from tests.faults import Fault, Faulty, watched_app

type Context = loom.WorkflowContext[Any, Any]

TOKENS: list[str] = []


@pytest.fixture(autouse=True)
def no_tokens() -> None:
    TOKENS.clear()


@pytest.fixture
async def app(any_dsn: str) -> AsyncIterator[loom.Loom]:
    settings = loom.Settings(lease_seconds=0.5, shutdown_grace_seconds=0.1)
    async with loom.Loom(any_dsn, settings=settings) as app:
        yield app


@dataclass
class Approval:
    by: str


def ask() -> Approval:
    TOKENS.append(loom.activity_info().task_token)
    raise loom.CompleteLater


@loom.activity(name="approve")
async def approve() -> Approval:
    return ask()


@loom.activity(name="approve")
def approve_in_thread() -> Approval:
    return ask()


RETRY = loom.RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=1))


def approving(activity: Any = approve) -> Any:
    @loom.workflow(name="Approving")
    class Approving(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> Any:
            try:
                return (await ctx.activity(activity)).by
            except loom.ActivityTimeoutError as error:
                return f"{error.timeout} after {error.attempts}"
            except loom.ActivityFailedError as error:
                return [error.cause_message, error.details]

    return Approving


async def is_parked(handle: loom.WorkflowHandle[Any]) -> bool:
    return any(activity.is_parked for activity in (await handle.info()).activities)


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_it_is_completed_from_another_application_when_its_worker_is_gone(
    any_dsn: str, kind: str
) -> None:
    activity: Any = approve if kind == "async" else approve_in_thread
    workflow = approving(activity)
    async with loom.Loom(any_dsn) as app, app.worker(workflows=[workflow], activities=[activity]):
        handle = await app.start(workflow, id="it")
        await eventually(lambda: is_parked(handle))

        async def is_free() -> bool:
            info = await handle.info()
            return (info.worker, info.activities[0].worker) == (None, None)

        # Neither the run nor the attempt takes up anything of the worker meanwhile.
        await eventually(is_free)
    async with loom.Loom(any_dsn) as other:
        await other.complete_activity(TOKENS[0], Approval("Ada"), activity=activity)
        async with other.worker(workflows=[workflow]):
            assert await other.handle("it").result(30) == "Ada"
    assert len(TOKENS) == 1


async def test_it_waits_for_longer_than_any_lease(app: loom.Loom) -> None:
    workflow = approving()
    async with app.worker(workflows=[workflow], activities=[approve]):
        handle = await app.start(workflow)
        await eventually(lambda: is_parked(handle))
        await asyncio.sleep(1)
        assert len(TOKENS) == 1
        await app.complete_activity(TOKENS[0], {"by": "Bob"})
        assert await handle.result(30) == "Bob"


async def test_it_may_be_completed_before_its_attempt_has_let_go(app: loom.Loom) -> None:
    may_end = asyncio.Event()

    @loom.activity(name="approve")
    async def slow() -> Approval:
        TOKENS.append(loom.activity_info().task_token)
        await may_end.wait()
        raise loom.CompleteLater

    workflow = approving(slow)
    async with app.worker(workflows=[workflow], activities=[slow]):
        handle = await app.start(workflow)
        await eventually(lambda: len(TOKENS) == 1)
        await app.complete_activity(TOKENS[0], Approval("Eve"))
        assert await handle.result(30) == "Eve"
        may_end.set()


async def test_it_is_completed_once(app: loom.Loom) -> None:
    workflow = approving()
    async with app.worker(workflows=[workflow], activities=[approve]):
        handle = await app.start(workflow)
        await eventually(lambda: is_parked(handle))
        await app.complete_activity(TOKENS[0], Approval("Ada"))
        with pytest.raises(loom.ActivityClosedError, match="is over"):
            await app.complete_activity(TOKENS[0], Approval("Bob"))
        assert await handle.result(30) == "Ada"
        with pytest.raises(loom.ActivityClosedError):
            await app.fail_activity(TOKENS[0], "too late")
        with pytest.raises(loom.ActivityClosedError):
            await app.heartbeat_activity(TOKENS[0])


async def test_it_is_failed_from_outside_with_details(app: loom.Loom) -> None:
    workflow = approving()
    async with app.worker(workflows=[workflow], activities=[approve]):
        handle = await app.start(workflow)
        await eventually(lambda: is_parked(handle))
        await app.fail_activity(TOKENS[0], loom.ActivityError("refused", details=[1, 2]))
        assert await handle.result(30) == ["refused", [1, 2]]


async def test_it_is_tried_again_when_the_error_says_so(app: loom.Loom) -> None:
    workflow = approving()
    async with app.worker(workflows=[workflow], activities=[approve]):
        handle = await app.start(workflow)
        await eventually(lambda: is_parked(handle))
        await app.fail_activity(TOKENS[0], loom.ActivityError("busy", retry_after=0))
        await eventually(lambda: len(TOKENS) == 2)
        with pytest.raises(loom.ActivityClosedError):
            await app.complete_activity(TOKENS[0], Approval("of the first"))
        await eventually(lambda: is_parked(handle))
        await app.complete_activity(TOKENS[1], Approval("of the second"))
        assert await handle.result(30) == "of the second"


async def test_a_cancelled_one_is_over(app: loom.Loom) -> None:
    workflow = approving()
    async with app.worker(workflows=[workflow], activities=[approve]):
        handle = await app.start(workflow)
        await eventually(lambda: is_parked(handle))
        await handle.cancel()
        with pytest.raises(loom.WorkflowCancelledError):
            await handle.result(30)
        with pytest.raises(loom.ActivityClosedError):
            await app.complete_activity(TOKENS[0], Approval("Ada"))


@pytest.mark.parametrize("which", ["start_to_close", "heartbeat"])
async def test_its_times_still_hold(app: loom.Loom, which: str) -> None:
    options: dict[str, Any] = {f"{which}_timeout": 0.1}

    @loom.activity(name="approve", retry=RETRY, **options)
    async def activity() -> Approval:
        return ask()

    workflow = approving(activity)
    async with app.worker(workflows=[workflow]):
        async with app.worker(activities=[activity]):
            handle = await app.start(workflow)
            await eventually(lambda: len(TOKENS) > 0)
        # Whoever comes next finds that its time is over, and tries it again.
        async with app.worker(activities=[activity]):
            assert await handle.result(30) == f"{which} after 2"
    assert len(TOKENS) == 2


async def test_heartbeats_from_outside_keep_it_and_tell_the_next_attempt(app: loom.Loom) -> None:
    async def trial(silence: float) -> None:
        details: list[Any] = []
        TOKENS.clear()

        @loom.activity(name="approve", heartbeat_timeout=silence, retry=RETRY)
        async def watched() -> Approval:
            details.append(loom.activity_info().heartbeat_details())
            return ask()

        workflow = approving(watched)
        async with app.worker(workflows=[workflow], activities=[watched]):
            handle = await app.start(workflow)
            await eventually(lambda: is_parked(handle))
            for number in range(10):
                await asyncio.sleep(silence / 6)
                await app.heartbeat_activity(TOKENS[0], number)
            assert details == [None]
            await eventually(lambda: len(details) == 2)
            assert details == [None, 9]
            await eventually(lambda: is_parked(handle))
            await app.complete_activity(TOKENS[1], Approval("Ada"))
            assert await handle.result(30) == "Ada"

    await given_time(trial, 0.6, 2, 10)


async def test_its_whole_time_holds_with_no_worker_for_it(app: loom.Loom) -> None:
    async def trial(seconds: float) -> None:
        workflow = approving(loom.with_options(approve, schedule_to_close_timeout=seconds))
        async with app.worker(workflows=[workflow]):
            async with app.worker(activities=[approve]):
                handle = await app.start(workflow)
                await eventually(lambda: len(TOKENS) > 0, seconds)
            assert await handle.result(30) == "schedule_to_close after 1"

    await given_time(trial, 0.3, 2, 15)


async def test_an_attempt_that_died_before_it_let_go_has_its_token_outlived(
    app: loom.Loom,
) -> None:
    @loom.activity(name="approve")
    async def hanging() -> Approval:
        TOKENS.append(loom.activity_info().task_token)
        if len(TOKENS) == 1:
            await asyncio.Event().wait()
        raise loom.CompleteLater

    workflow = approving(hanging)
    async with app.worker(workflows=[workflow]):
        handle = await app.start(workflow)
        async with app.worker(activities=[hanging]) as first:
            await eventually(lambda: len(TOKENS) == 1)
            cut_off(first)
        async with app.worker(activities=[hanging]):
            await eventually(lambda: is_parked(handle))
            with pytest.raises(loom.ActivityClosedError):
                await app.complete_activity(TOKENS[0], Approval("of the first"))
            await app.complete_activity(TOKENS[1], Approval("of the second"))
            assert await handle.result(30) == "of the second"


@pytest.mark.parametrize(
    "token", ["", "nonsense", "WzEsMl0", 5, None, "WzIsImEiLCJiIiwxLDIsMyxudWxsLG51bGxd"]
)
async def test_what_is_no_token_is_refused(memory_dsn: str, token: Any) -> None:
    async with loom.Loom(memory_dsn) as app:
        with pytest.raises(loom.PayloadError, match="is not the task token of an activity"):
            await app.complete_activity(token, 1)


async def test_a_result_that_does_not_fit_is_refused_and_nothing_written(app: loom.Loom) -> None:
    workflow = approving()
    async with app.worker(workflows=[workflow], activities=[approve]):
        handle = await app.start(workflow)
        await eventually(lambda: is_parked(handle))
        with pytest.raises(loom.PayloadError):
            await app.complete_activity(TOKENS[0], {"of": "Ada"}, activity=approve)
        with pytest.raises(loom.PayloadError):
            await app.complete_activity(TOKENS[0], object())
        await app.complete_activity(TOKENS[0], Approval("Ada"), activity=approve)
        assert await handle.result(30) == "Ada"


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER, Fault.TWICE])
async def test_letting_go_may_go_wrong_once(any_dsn: str, fault: Fault) -> None:
    class OnParking(Faulty):
        async def __call__(self, method: str, call: Any, arguments: tuple[Any, ...]) -> Any:
            if method != "complete_activity_tasks":
                return await call()
            return await super().__call__(method, call, arguments)

    workflow = approving()
    async with (
        watched_app(any_dsn, OnParking(fault, 1), lease_seconds=0.5) as app,
        app.worker(workflows=[workflow], activities=[approve]),
    ):
        handle = await app.start(workflow)
        await eventually(lambda: is_parked(handle))
        await app.complete_activity(TOKENS[-1], Approval("Ada"))
        assert await handle.result(30) == "Ada"
