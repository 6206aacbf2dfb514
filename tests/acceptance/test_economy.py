"""What a step costs, in calls and rows: the same at the first as at the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import loom
from tests.conditions import eventually
from tests.faults import Counting, watched_app

type Context = loom.WorkflowContext[Any, Any]


@loom.activity
async def step(n: int) -> int:
    return n + 1


@loom.activity(name="step")
async def step_to_the_twentieth(n: int) -> int:
    return n + 1 if n < 20 else await asyncio.Event().wait()


@loom.workflow
class Sequence(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        done = 0
        while done < ctx.input:
            done = await ctx.activity(step, done)
        return done


@loom.workflow
class Parallel(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> int:
        return sum(await asyncio.gather(*(ctx.activity(step, n) for n in range(ctx.input))))


@loom.workflow
class Idle(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.wait_for_signal("go")


@loom.workflow
class Parent(loom.Workflow[int, Any]):
    """Starts children that wait for ever, and then goes on by itself."""

    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> None:
        for n in range(ctx.input):
            await ctx.start_child(Idle, id=f"child-{n}", parent_close_policy="abandon")
        await ctx.activity(step, 1)


@loom.workflow
class Continuing(loom.Workflow[int, Any]):
    async def run(self, ctx: loom.WorkflowContext[int, Any]) -> None:
        if ctx.input:
            ctx.continue_as_new(ctx.input - 1)


@asynccontextmanager
async def working_app(
    dsn: str, counting: Counting, step: Any = step, **settings: Any
) -> AsyncIterator[loom.Loom]:
    async with (
        watched_app(dsn, counting, **settings) as app,
        app.worker(workflows=[Sequence, Parallel, Idle, Parent, Continuing], activities=[step]),
    ):
        yield app


async def test_a_start_and_each_step_cost_one_commit(any_dsn: str) -> None:
    counting = Counting()
    async with working_app(any_dsn, counting) as app:
        handle = await app.start(Sequence, 20)
        assert await handle.result(30) == 20
        assert counting.calls == {"current_time": 3, "start_runs": 1, "write_transitions": 20}


async def test_with_a_single_slot_a_step_costs_one_commit_too(any_dsn: str) -> None:
    counting = Counting()
    async with (
        watched_app(any_dsn, counting) as app,
        app.worker(workflows=[Sequence], activities=[step], concurrency=1),
    ):
        assert await (await app.start(Sequence, 20)).result(10) == 20
    assert counting.calls["start_runs"] == 1
    assert counting.calls["write_transitions"] == 20
    assert counting.calls["complete_activity_tasks"] == 0


async def test_activities_that_end_together_cost_one_commit(any_dsn: str) -> None:
    counting = Counting()
    async with working_app(any_dsn, counting) as app:
        assert await (await app.start(Parallel, 10)).result(10) == 55
    assert counting.calls["start_runs"] == 1
    assert counting.calls["write_transitions"] == 1


async def test_starting_a_run_that_only_waits_costs_one_commit(any_dsn: str) -> None:
    counting = Counting()
    async with working_app(any_dsn, counting) as app:
        await app.start(Idle)
        assert counting.commits == 1


async def test_a_start_without_a_worker_costs_one_commit(any_dsn: str) -> None:
    counting = Counting()
    async with watched_app(any_dsn, counting) as app:
        await app.start(Sequence, 1)
        assert counting.commits == 1


async def test_signals_that_are_sent_at_once_share_a_commit(any_dsn: str) -> None:
    counting = Counting()
    async with watched_app(any_dsn, counting) as app:
        waiting = [await app.start(Idle) for _ in range(50)]
        await asyncio.gather(*(run.signal("go", n) for n, run in enumerate(waiting)))
        assert counting.calls["send_messages"] == 1
        async with app.worker(workflows=[Idle]):
            assert [await run.result(20) for run in waiting] == list(range(50))


async def test_one_of_several_signals_is_refused_alone(any_dsn: str) -> None:
    async with watched_app(any_dsn, Counting()) as app:
        run = await app.start(Idle)
        nobody = app.handle("nobody")
        sent = await asyncio.gather(
            run.signal("go", 1), nobody.signal("go", 2), run.signal("go", 3), return_exceptions=True
        )
        assert sent[0] is sent[2] is None
        assert isinstance(sent[1], loom.WorkflowNotFoundError)
        async with app.worker(workflows=[Idle]):
            assert await run.result(20) == 1


async def test_children_are_started_by_the_turn_that_asks_for_them(any_dsn: str) -> None:
    counting = Counting()
    async with watched_app(any_dsn, counting) as app:
        async with app.worker(workflows=[Parent], activities=[step]):
            await (await app.start(Parent, 100)).result(30)
        assert await app.count(name="Idle") == 100
    assert counting.calls["start_runs"] == 1
    assert counting.calls["write_transitions"] == 1


async def test_each_run_of_a_chain_costs_one_commit(any_dsn: str) -> None:
    counting = Counting()
    async with working_app(any_dsn, counting) as app:
        await (await app.start(Continuing, 10)).result(30)
    assert counting.calls["start_runs"] == 1
    assert counting.calls["write_transitions"] == 10


async def test_waiting_for_a_result_next_to_its_worker_reads_nothing(any_dsn: str) -> None:
    counting = Counting()
    async with working_app(any_dsn, counting) as app:
        handle = await app.start(Sequence, 5)
        await handle.result(30)
        assert counting.calls["find_run"] == counting.calls["read_history"] == 0


async def test_five_thousand_steps_cost_five_thousand_times_one(memory_dsn: str) -> None:
    counting = Counting()
    async with working_app(memory_dsn, counting) as app:
        assert await (await app.start(Sequence, 5_000)).result(50) == 5_000
    assert counting.commits == 5_001
    assert counting.rows_read == 0
    assert counting.events_written == 2 * 5_001


async def test_a_recovered_run_reads_its_history_once_and_no_more(dsn: str) -> None:
    counting = Counting()
    async with loom.Loom(dsn) as client:
        async with working_app(dsn, Counting(), step_to_the_twentieth, shutdown_grace_seconds=0):
            handle = await client.start(Sequence, 60)

            async def is_under_way() -> bool:
                return (await handle.info()).history_length >= 40

            await eventually(is_under_way)
        recorded = (await handle.info()).history_length
        async with working_app(dsn, counting):
            assert await handle.result(30) == 60
    assert counting.rows_read == recorded
