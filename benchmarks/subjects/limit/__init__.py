"""The limit: the rows that Loom writes, through the same driver, with no engine.

Group commit as Loom does it: what is asked for while a transaction is in flight goes out with the
next. But nothing is looked up, locked, fenced or decided, and no workflow's code runs.

There are two of them. ``limit`` drives the driver as Loom does: a whole transaction in one hop to
the connection's thread on SQLite, in one round trip to the server on Postgres. ``limit-awaited``
drives it as its documentation has it: begin, each statement and commit are awaited one by one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.records import Case
from benchmarks.subjects.limit.group_commit import GroupCommit
from benchmarks.subjects.limit.rows import RunRows
from benchmarks.subjects.limit.writer import Writer
from benchmarks.subjects.session import Session


class LimitSession(Session):
    """Writes what runs would leave behind."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self.packages = (writer.driver,) if writer.driver else ()
        self._writer = writer
        self._commits = GroupCommit(writer.write)
        self._keys = itertools.count(1)

    async def one_activity(self, number: int) -> None:
        run = RunRows(next(self._keys), "OneActivity", "double", "number")
        await self._commits.commit(run.start())
        await self._commits.commit(run.finish())

    async def sequence(self, steps: int) -> list[float]:
        run = RunRows(next(self._keys), "Sequence", "mark", "step")
        await self._commits.commit(run.start())
        moments = [time.perf_counter()]
        for _ in range(steps - 1):
            await self._commits.commit(run.step())
            moments.append(time.perf_counter())
        await self._commits.commit(run.finish())
        return moments

    async def ask(self, query: str) -> Any:
        return await self._writer.ask(query)


@asynccontextmanager
async def open_session(dsn: str, case: Case) -> AsyncIterator[Session]:
    """Drives the driver as Loom does: nothing is faster."""
    async with _open_writer(dsn, is_awaited=False) as writer:
        yield LimitSession(writer)


@asynccontextmanager
async def open_awaited_session(dsn: str, case: Case) -> AsyncIterator[Session]:
    """Drives the driver as programs do: each statement is awaited."""
    async with _open_writer(dsn, is_awaited=True) as writer:
        yield LimitSession(writer)


@asynccontextmanager
async def _open_writer(dsn: str, *, is_awaited: bool) -> AsyncIterator[Writer]:
    # Imported here, so that a driver that is not used takes no memory.
    if dsn.startswith("sqlite:"):
        from benchmarks.subjects.limit.sqlite import open_writer
    else:
        from benchmarks.subjects.limit.postgres import open_writer
    async with open_writer(dsn, is_awaited=is_awaited) as writer:
        yield writer
