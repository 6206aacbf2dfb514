"""DBOS, in the process that asks: workflows and steps are decorated coroutine functions."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import sqlalchemy
from dbos import DBOS

from benchmarks.records import Case
from benchmarks.subjects.session import Session

PAUSE = 0.05
"""Seconds until a run that was started waits for its signal: nothing tells."""

_moments: list[float] = []


@DBOS.step()
async def double(number: int) -> int:
    return 2 * number


@DBOS.step()
async def mark(step: int) -> int:
    _moments.append(time.perf_counter())
    return step


@DBOS.workflow()
async def one_activity(number: int) -> int:
    return await double(number)


@DBOS.workflow()
async def sequence(steps: int) -> int:
    return sum([await mark(step) == step for step in range(steps)])


@DBOS.workflow()
async def activities(n: int) -> int:
    return sum(await asyncio.gather(*[double(number) for number in range(n)]))


@DBOS.workflow()
async def children(n: int) -> int:
    started = [await DBOS.start_workflow_async(one_activity, number) for number in range(n)]
    return sum([await child.get_result() for child in started])


@DBOS.workflow()
async def signalled() -> Any:
    return await DBOS.recv_async("go", timeout_seconds=60)


class DbosSession(Session):
    packages = ("dbos", "sqlalchemy", "psycopg")

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        super().__init__()
        self._engine = engine

    async def ask(self, query: str) -> Any:
        with self._engine.connect() as connection:
            return connection.execute(sqlalchemy.text(query)).scalar_one()

    async def one_activity(self, number: int) -> None:
        assert await one_activity(number) == 2 * number

    async def sequence(self, steps: int) -> list[float]:
        _moments.clear()
        assert await sequence(steps) == len(_moments) == steps
        return list(_moments)

    async def fan_out(self, kind: str, n: int) -> None:
        assert await (activities if kind == "activities" else children)(n) == n * (n - 1)

    async def signal_round_trip(self) -> float:
        run = await DBOS.start_workflow_async(signalled)
        await asyncio.sleep(PAUSE)
        began = time.perf_counter()
        await DBOS.send_async(run.workflow_id, 7, topic="go")
        assert await run.get_result() == 7
        return time.perf_counter() - began


@asynccontextmanager
async def open_session(dsn: str, case: Case) -> AsyncIterator[Session]:
    """As it comes; on SQLite with a rollback journal, for which Loom's own file is no good."""
    url = dsn.replace("loom.db", "dbos.db")
    dbos: Any = DBOS(
        config={"name": "benchmarks", "system_database_url": url, "log_level": "ERROR"}
    )
    DBOS.launch()
    try:
        yield DbosSession(dbos._sys_db.engine)
    finally:
        DBOS.destroy()


@asynccontextmanager
async def open_wal_session(dsn: str, case: Case) -> AsyncIterator[Session]:
    """On a SQLite file that was switched to WAL mode before."""
    path = dsn.removeprefix("sqlite:///").replace("loom.db", "dbos.db")
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode = WAL")
    async with open_session(dsn, case) as session:
        yield session
