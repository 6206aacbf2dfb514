"""Absurd, on Postgres: tasks made of steps, spawned and worked on in one process."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from absurd_sdk import AsyncAbsurd
from absurdctl import BUNDLED_SCHEMA_SQL

from benchmarks.records import Case
from benchmarks.subjects.session import Session

QUEUE = "benchmarks"
POLL = 0.001
"""Seconds; by default its workers look for work four times a second."""
MOST_TASKS = 100
"""At a time: with more of them it is slower."""


class AbsurdSession(Session):
    packages = ("absurd-sdk", "psycopg")

    def __init__(self, client: AsyncAbsurd, worker: AsyncAbsurd) -> None:
        super().__init__()
        self._client = client
        self._waiting: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._moments: list[float] = []
        for name in ("one_activity", "sequence", "signalled"):
            worker.register_task(name)(getattr(self, f"_{name}"))

    async def _one_activity(self, number: int, ctx: Any) -> int:
        async def double() -> int:
            return 2 * number

        return self._end(ctx, await ctx.step("double", double))

    async def _sequence(self, steps: int, ctx: Any) -> int:
        return self._end(ctx, sum([await ctx.step("mark", self._mark) for _ in range(steps)]))

    async def _mark(self) -> int:
        self._moments.append(time.perf_counter())
        return 1

    async def _signalled(self, name: str, ctx: Any) -> Any:
        return self._end(ctx, await ctx.await_event(name))

    def _end(self, ctx: Any, result: Any) -> Any:
        """Tells those who wait here that it is about to be over, so that they need not poll."""
        self._waiting[ctx.task_id].set()
        return result

    async def ask(self, query: str) -> Any:
        cursor = await self._client._conn.execute(query)
        return (await cursor.fetchone())[0]

    async def one_activity(self, number: int) -> None:
        assert await self._result(await self._spawn("one_activity", number)) == 2 * number

    async def sequence(self, steps: int) -> list[float]:
        self._moments.clear()
        task = await self._spawn("sequence", steps)
        assert await self._result(task) == len(self._moments) == steps
        return list(self._moments)

    async def signal_round_trip(self) -> float:
        name = f"go-{time.time_ns()}"
        task = await self._spawn("signalled", name)
        await self._reaches("sleeping", task)
        began = time.perf_counter()
        await self._client.emit_event(name, 7)
        assert await self._result(task) == 7
        return time.perf_counter() - began

    async def _spawn(self, name: str, argument: Any) -> str:
        return (await self._client.spawn(name, argument, queue=QUEUE))["task_id"]

    async def _result(self, task: str) -> Any:
        await self._waiting[task].wait()
        del self._waiting[task]
        return await self._reaches("completed", task)

    async def _reaches(self, state: str, task: str) -> Any:
        # Nothing tells.
        while (found := await self._client.fetch_task_result(task)).state != state:  # noqa: ASYNC110
            await asyncio.sleep(POLL)
        return found.result


@asynccontextmanager
async def open_session(dsn: str, case: Case) -> AsyncIterator[Session]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(BUNDLED_SCHEMA_SQL)
    client, worker = AsyncAbsurd(dsn, queue_name=QUEUE), AsyncAbsurd(dsn, queue_name=QUEUE)
    await client.create_queue()
    session = AbsurdSession(client, worker)
    slots = min(case.concurrency, MOST_TASKS)
    working = asyncio.create_task(worker.start_worker(concurrency=slots, poll_interval=POLL))
    try:
        yield session
    finally:
        worker.stop_worker()
        await working
        await worker.close()
        await client.close()
