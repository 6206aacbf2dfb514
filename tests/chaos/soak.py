"""A long time under load with a fault each minute: ``python -m tests.chaos.soak --minutes 60``.

Clients keep up seven tenths of what the workers can do. Every run must give its result, and memory,
connections and latency must stay what they were. One worker is spared from dying, and is watched.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import logging
import math
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

import loom
from tests.chaos.clients import insist
from tests.chaos.jobs import Relay
from tests.chaos.nursery import Child
from tests.chaos.sqlite_faults import hold_lock
from tests.chaos.stage import LEASE, STORES, Report, Stage, grounds
from tests.databases import plain_dsn

CLIENTS = 40
LOAD = 0.7
"""Of what the same clients reach when they do not wait between two runs."""

PEAK_SECONDS = 10.0
SAMPLE = 500
"""How many runs' histories are looked at in the end."""

PATIENCE = 60.0
"""Seconds in which a run must give its result, whatever happens meanwhile."""


@dataclass(frozen=True)
class Minute:
    """What one period has shown."""

    runs: int
    p50: float
    """Seconds from start to result; also the next."""
    p99: float
    worker_mib: float
    client_mib: float
    connections: int

    def __str__(self) -> str:
        latency = f"p50 {self.p50 * 1e3:.1f} ms, p99 {self.p99 * 1e3:.0f} ms"
        memory = f"worker {self.worker_mib:.0f} MiB, client {self.client_mib:.0f} MiB"
        return f"{self.runs} runs, {latency}, {memory}, {self.connections} connections"


GROWTH = (
    ("worker_mib", 1.0, 4.0),
    ("client_mib", 1.0, 4.0),
    ("connections", 1.0, 2.0),
    ("p50", 1.5, 0.02),
)
"""How much the last quarter may be above the second: by that factor, and that much more."""


@dataclass
class Load:
    """Clients that start runs, signal them and await their results."""

    app: loom.Loom
    started: int = 0
    latencies: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    rate: float | None = None
    """Runs per second; as many as can be when ``None``."""
    is_over: bool = False

    async def client(self) -> None:
        begin = time.monotonic() - self.started / self.rate if self.rate else 0
        while not self.is_over:
            number, self.started = self.started, self.started + 1
            if self.rate:
                await asyncio.sleep(max(0.0, begin + number / self.rate - time.monotonic()))
            began = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    result = await self._one(number)
            except (loom.LoomError, TimeoutError) as error:
                self.wrong.append(f"run {number}: {error!r}")
            else:
                if result != 2 * number + 2:
                    self.wrong.append(f"run {number} gave {result}")
                self.latencies.append(time.monotonic() - began)

    async def _one(self, number: int) -> int:
        key = f"soak-{number}"
        run = await insist(
            lambda: self.app.start(Relay, number, id=key, idempotency_key=key), PATIENCE
        )
        await insist(lambda: run.signal("add", number, request_id=key), PATIENCE)
        return await insist(run.result, PATIENCE)

    @asynccontextmanager
    async def at(self, rate: float | None) -> AsyncIterator[None]:
        self.rate, self.is_over = rate, False
        clients = [asyncio.create_task(self.client()) for _ in range(CLIENTS)]
        try:
            yield
            self.is_over = True
            await asyncio.gather(*clients)
        finally:
            for client in clients:
                client.cancel()


async def soak(stage: Stage, minutes: int, seconds: float = 60.0) -> None:
    """So many periods of so many seconds, with a fault in the middle of each."""
    async with stage.client() as (app, _):
        load = Load(app)
        veteran, other = await stage.worker(), await stage.worker()
        async with load.at(None):
            await asyncio.sleep(min(PEAK_SECONDS, seconds))
        peak = len(load.latencies) / min(PEAK_SECONDS, seconds)
        print(f"peak: {peak:.0f} runs a second; load: {LOAD * peak:.0f}")
        faults, seen = _faults(stage), list[Minute]()
        async with load.at(LOAD * peak):
            for number in range(minutes):
                load.latencies.clear()
                await asyncio.sleep(seconds / 2)
                name, fault = next(faults)
                other = await fault(veteran, other)
                stage.fault(name)
                await asyncio.sleep(seconds / 2)
                seen.append(await _look(stage, load, veteran))
                print(f"{number + 1}: {name}; {seen[-1]}", flush=True)
        await _judge(stage, load, seen)


async def _look(stage: Stage, load: Load, veteran: Child) -> Minute:
    latencies = sorted(load.latencies) or [math.nan]
    return Minute(
        len(load.latencies),
        statistics.median(latencies),
        latencies[int(0.99 * len(latencies))],
        _mib(veteran.pid),
        _mib("self"),
        await _connections(stage, veteran),
    )


async def _judge(stage: Stage, load: Load, seen: Sequence[Minute]) -> None:
    for wrong in load.wrong:
        stage.violation(wrong)
    total, done = [
        await load.app.count(name=Relay.__name__, **filters)  # type: ignore[arg-type]
        for filters in ({}, {"status": "COMPLETED"})
    ]
    if not total == done == load.started:
        stage.violation(f"{load.started} runs were started; {total} are there, {done} completed")
    await _look_at_some(stage, load)
    quarter = len(seen) // 4
    if quarter == 0:
        return
    # In the first quarter caches fill.
    early, late = seen[quarter : 2 * quarter], seen[-quarter:]
    for name, factor, slack in GROWTH:
        before, after = (
            statistics.median(getattr(minute, name) for minute in some) for some in (early, late)
        )
        if after > factor * before + slack:
            stage.violation(f"{name} has grown from {before:.3f} to {after:.3f}")


async def _look_at_some(stage: Stage, load: Load) -> None:
    """Histories of some runs must have no gap, and lead today's code to the same commands."""
    replayer = loom.Replayer([Relay])
    for number in stage.chance.sample(range(load.started), min(SAMPLE, load.started)):
        history = await load.app.handle(f"soak-{number}").export()
        if [event.sequence for event in history.events] != [*range(1, len(history.events) + 1)]:
            stage.violation(f"I4: the history of run {number} has a gap")
        if not (replayed := replayer.replay(history)).ok:
            stage.violation(f"I8: run {number}: {replayed.error!r}")


def _mib(process: int | str) -> float:
    """Of its own: pages of files, as SQLite's index of its log, are the system's to take back."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


async def _connections(stage: Stage, veteran: Child) -> int:
    if stage.is_sqlite:
        files = Path(f"/proc/{veteran.pid}/fd").iterdir()
        return sum(stage.file.name in str(file.resolve()) for file in files)
    connection = await asyncpg.connect(plain_dsn(stage.dsn))
    try:
        return int(await connection.fetchval(_CONNECTIONS))
    finally:
        await connection.close()


_CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'loom' AND datname = current_database()
"""


# --- faults --------------------------------------------------------------------------------------

type Fault = Callable[[Child, Child], Awaitable[Child]]
"""Given the worker that is to live and the other one; gives the other one as it is then."""


def _faults(stage: Stage) -> Iterator[tuple[str, Fault]]:
    """For ever, in turn."""

    async def kill(veteran: Child, other: Child) -> Child:
        await other.kill()
        return await stage.worker()

    async def freeze(veteran: Child, other: Child) -> Child:
        for worker in (veteran, other):
            worker.freeze()
            await asyncio.sleep(LEASE * 2)
            worker.wake()
        return other

    async def drain(veteran: Child, other: Child) -> Child:
        other.stop()
        await other.ended(120)
        return await stage.worker()

    async def hold(veteran: Child, other: Child) -> Child:
        await asyncio.to_thread(hold_lock, stage.file, 2.0)
        return other

    async def crash(veteran: Child, other: Child) -> Child:
        server = stage.grounds.server
        assert server is not None
        await asyncio.to_thread(server.stop, "immediate")
        await asyncio.to_thread(server.start)
        return other

    common = [("SIGKILLs", kill), ("zombies", freeze), ("SIGTERMs", drain)]
    own = ("locks held by a rival", hold) if stage.is_sqlite else ("crashes of Postgres", crash)
    while True:
        yield from [*common, own]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--store", choices=STORES, required=True)
    given = parser.parse_args(arguments)
    logging.getLogger("loom").setLevel(logging.CRITICAL)
    report = Report("soak", given.store)
    with grounds((given.store,)) as places:
        scenario = functools.partial(soak, minutes=given.minutes)
        asyncio.run(places.play(scenario, report, seed=0))
    print(report, *report.violations[:20], sep="\n  ")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
