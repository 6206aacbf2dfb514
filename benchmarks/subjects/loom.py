"""Loom itself, as an application uses it: one process, one worker."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import loom
from benchmarks.subjects.session import Session
from loom.storage.sql.dialects import Statement
from loom.storage.sql.postgres import PostgresStore
from loom.storage.sql.sqlite import SqliteStore
from loom.storage.sql.transactions import Query, Transaction
from loom.storage.store import Store, open_store

DEFAULT_SLOTS = 100


@loom.activity
async def double(number: int) -> int:
    return 2 * number


@loom.workflow
class OneActivity(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        return await ctx.activity(double, ctx.input)


_moments: list[float] = []


@loom.activity
async def mark(step: int) -> int:
    _moments.append(time.perf_counter())
    return step


@loom.workflow
class Sequence(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        steps = 0
        for step in range(ctx.input):
            steps += await ctx.activity(mark, step) == step
        return steps


class LoomSession(Session):
    """An open application with a worker at work."""

    packages = ("loom-durable", "sqlalchemy", "aiosqlite", "asyncpg")

    def __init__(self, app: loom.Loom, store: Store) -> None:
        self._app = app
        self._store = store

    async def one_activity(self, number: int) -> None:
        run = await self._app.start(OneActivity, number)
        result = await run.result()
        if result != 2 * number:
            raise AssertionError(f"twice {number} is not {result}")

    async def sequence(self, steps: int) -> list[float]:
        _moments.clear()
        run = await self._app.start(Sequence, steps)
        result = await run.result()
        if not result == len(_moments) == steps:
            raise AssertionError(f"{result} of {steps} steps counted, {len(_moments)} run")
        return list(_moments)

    async def ask(self, query: str) -> Any:
        assert isinstance(self._store, SqliteStore | PostgresStore)
        return await self._store.database.write(_one_value(query))


def _one_value(query: str) -> Transaction[Any]:
    rows = yield Query(Statement(query, lambda _: ()))
    return rows[0][0]


@asynccontextmanager
async def open_session(dsn: str, concurrency: int) -> AsyncIterator[Session]:
    # A second store, opened as the application opens its own, which it keeps to itself.
    store = await open_store(dsn)
    try:
        async with loom.Loom(dsn) as app:
            # An activity slot for each client: with fewer, runs would only wait for each other.
            slots = max(concurrency, DEFAULT_SLOTS)
            definitions: dict[str, Any] = {
                "workflows": [OneActivity, Sequence],
                "activities": [double, mark],
            }
            async with app.worker(**definitions, concurrency=slots):
                yield LoomSession(app, store)
    finally:
        await store.close()
