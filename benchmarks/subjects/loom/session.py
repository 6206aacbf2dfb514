"""What Loom is asked to do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import loom
from benchmarks.processes import OtherProcess
from benchmarks.records import Usage
from benchmarks.subjects.loom import workers
from benchmarks.subjects.loom.workflows import (
    DEFINITIONS,
    ActivityFanOut,
    Asked,
    ChildFanOut,
    Interrupted,
    OneActivity,
    Sequence,
    Signalled,
    Sleeper,
    moments,
)
from benchmarks.subjects.session import Session
from loom.storage.sql.dialects import Statement
from loom.storage.sql.postgres import PostgresStore
from loom.storage.sql.sqlite import SqliteStore
from loom.storage.sql.transactions import Query, Transaction
from loom.storage.store import Store

_LOOK: Final = 0.01
"""Seconds between two looks at what other processes have done."""

_LEASES: Final = "SELECT max(lease_expires_at) FROM {}"


class LoomSession(Session):
    """An open application, with a worker at work in this process or in others."""

    packages = ("loom-durable", "sqlalchemy", "aiosqlite", "asyncpg")

    def __init__(self, app: loom.Loom, store: Store, slots: int) -> None:
        super().__init__()
        self._app = app
        self._store = store
        self._slots = slots

    async def ask(self, query: str) -> Any:
        assert isinstance(self._store, SqliteStore | PostgresStore)
        return await self._store.database.write(_one_value(query))

    # --- worker processes ---

    async def start_workers(self, number: int) -> None:
        self.processes += [self._process(workers.work) for _ in range(number)]
        for process in self.processes:
            await process.ready()

    def _process(self, main: Callable[..., None], *arguments: int) -> OtherProcess:
        return OtherProcess(main, self._app.dsn, self._slots, *arguments)

    async def stop_workers(self) -> None:
        while self.processes:
            await self.processes.pop().stop()

    # --- from start to result ---

    async def one_activity(self, number: int) -> None:
        run = await self._app.start(OneActivity, number)
        _check(await run.result(), 2 * number)

    async def sequence(self, steps: int) -> list[float]:
        moments.clear()
        run = await self._app.start(Sequence, steps)
        _check(await run.result(), steps)
        _check(len(moments), steps)
        return list(moments)

    async def fan_out(self, kind: str, n: int) -> None:
        workflow = ActivityFanOut if kind == "activities" else ChildFanOut
        run = await self._app.start(workflow, n)
        _check(await run.result(), n * (n - 1))

    # --- messages and timers ---

    async def signal_round_trip(self) -> float:
        run = await self._app.start(Signalled)
        await self._at_rest(run)
        began = time.perf_counter()
        await run.signal("go", 7)
        _check(await run.result(), 7)
        return time.perf_counter() - began

    async def _at_rest(self, run: loom.WorkflowHandle[Any]) -> None:
        """Returns when it has begun, and nobody has it in hand."""

        async def is_at_rest() -> bool:
            info = await run.info()
            return info.history_length > 0 and info.worker is None

        await _until(is_at_rest)

    async def open_query(self) -> Callable[[], Awaitable[None]]:
        run = await self._app.start(Asked, 7)
        await self._at_rest(run)

        async def query() -> None:
            _check(await run.query(Asked.question), 7)

        return query

    async def sleeper(self, until: float) -> Callable[[], Awaitable[float]]:
        run = await self._app.start(Sleeper, until)

        async def result() -> float:
            await run.result()
            # Workers go by the database's clock, which may differ from ours by a trifle.
            return max(time.time() - until, 0.0)

        return result

    # --- a worker that dies ---

    async def interrupted(self, n: int, steps: int, left: int) -> float:
        worker = self._process(workers.work_and_halt, steps - left)
        standby = self._process(workers.stand_by)
        await worker.ready()
        await standby.ready()
        async with asyncio.TaskGroup() as starts:
            for _ in range(n):
                starts.create_task(self._app.start(Interrupted, steps))

        async def are_halted() -> bool:
            return bool(worker.ask("halted") == n)

        await _until(are_halted)
        worker.kill()
        standby.ask("begin")
        self.processes.append(standby)
        return await self._leases_end() - time.time()

    async def _leases_end(self) -> float:
        ends = [await self.ask(_LEASES.format(table)) for table in ("workflows", "tasks")]
        return float(max(ends)) / 1_000_000

    async def resumed(self) -> None:
        async def have_ended() -> bool:
            return await self._app.count(open=True) == 0

        await _until(have_ended)
        _check(await self._app.count(status="COMPLETED"), await self._app.count())

    # --- much of it ---

    async def asleep(self, n: int) -> Usage:
        process = OtherProcess(workers.put_to_sleep, self._app.dsn, n)
        await process.ready()
        used = process.usage()
        await process.stop()
        _check(await self._app.count(open=True, name="Sleeper"), n)
        return used

    async def start_worker(self) -> Mapping[str, float]:
        process = OtherProcess(workers.prove, self._app.dsn)
        self.processes.append(process)
        told: Mapping[str, float] = await process.ready()
        return told

    async def long_history(self, events: int) -> Mapping[str, Callable[[], Awaitable[None]]]:
        # Two for each activity, and those of the beginning and the end.
        run = await self._app.start(Sequence, (events - 2) // 2)
        await run.result()
        history = await run.export()

        async def opened() -> None:
            _check(len(await run.history()), len(history.events))

        async def replayed() -> None:
            loom.Replayer(DEFINITIONS["workflows"]).replay(history).raise_for_error()

        async def shown() -> None:
            command = [
                "-m",
                "loom.cli",
                "show",
                run.workflow_id,
                "--history",
                "--dsn",
                self._app.dsn,
            ]
            done = await asyncio.to_thread(
                subprocess.run, [sys.executable, *command], capture_output=True, check=True
            )
            if done.stdout.count(b"\n") < len(history.events):
                raise AssertionError("not all events are shown")

        return {"opened": opened, "replayed": replayed, "shown": shown}

    # --- without a database ---

    async def history_to_replay(self, kind: str, n: int) -> Callable[[], Awaitable[None]]:
        workflow = ActivityFanOut if kind == "parallel" else Sequence
        run = await self._app.start(workflow, n)
        await run.result()
        history = await run.export()

        async def replay() -> None:
            result = loom.Replayer([workflow]).replay(history)
            result.raise_for_error()
            _check(result.status, "COMPLETED")

        return replay


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110 - it is other processes that make it true
        await asyncio.sleep(_LOOK)


def _check(result: object, expected: object) -> None:
    if result != expected:
        raise AssertionError(f"{result!r} is not {expected!r}")


def _one_value(query: str) -> Transaction[Any]:
    rows = yield Query(Statement(query, lambda _: ()))
    return rows[0][0]
