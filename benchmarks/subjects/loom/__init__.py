"""Loom itself, as an application uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import loom
from benchmarks.records import Case
from benchmarks.subjects.loom.session import LoomSession
from benchmarks.subjects.loom.workflows import DEFINITIONS
from benchmarks.subjects.session import Session
from loom.storage.store import open_store

DEFAULT_SLOTS = 100


@asynccontextmanager
async def open_session(dsn: str, case: Case) -> AsyncIterator[Session]:
    # Where a scenario needs no database, histories are made in memory.
    dsn = dsn or "memory://"
    # A second store, opened as the application opens its own, which it keeps to itself.
    store = await open_store(dsn)
    try:
        async with loom.Loom(dsn) as app:
            # An activity slot for each client: with fewer, runs would only wait for each other.
            slots = max(case.concurrency, case.n if case.processes == 0 else 0, DEFAULT_SLOTS)
            session = LoomSession(app, store, slots)
            if case.processes is None:
                async with app.worker(**DEFINITIONS, concurrency=slots):
                    yield session
            else:
                await session.start_workers(case.processes)
                try:
                    yield session
                finally:
                    await session.stop_workers()
    finally:
        await store.close()
