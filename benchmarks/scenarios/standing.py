"""What costs while nothing happens, or goes on for long: waiting runs, idle workers, soaking."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from benchmarks.meter import rss_mib
from benchmarks.records import Case, Work
from benchmarks.scenarios.base import Scenario
from benchmarks.subjects.session import Session


class Waiting(Scenario):
    """So many runs that sleep for an hour: what they take in the process that opened them and in
    the database, and how soon a new process is ready to work beside them."""

    name = "waiting"
    operation = "run"
    stores = frozenset({"sqlite", "postgres"})
    most_repeats = 1

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, n or 100_000, processes=0)]

    async def run(self, session: Session, case: Case) -> Work:
        began = time.perf_counter()
        opener = await session.asleep(case.n)
        opened = time.perf_counter()
        with session.meter() as meter:
            started = await session.start_worker()
        figures = {
            "ready_seconds": meter.seconds,
            "rss_mib": started["rss_mib"],
            "opener_rss_mib": opener.peak_rss_mib,
        }
        return Work(
            case.n,
            opened - began,
            opener.cpu_seconds,
            workflows=case.n + 1,
            figures=figures,
        )


class Idle(Scenario):
    """Worker processes with nothing to do, for so many seconds."""

    name = "idle"
    operation = "second"
    stores = frozenset({"sqlite", "postgres"})
    most_repeats = 1

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, n or 20, processes=number) for number in (1, 10)]

    async def run(self, session: Session, case: Case) -> Work:
        # Each has been at work once: what that leaves behind is over in a second.
        await session.one_activity(1)
        await asyncio.sleep(1)
        before = sum(usage.cpu_seconds for usage in session.usages())
        await asyncio.sleep(case.n)
        cpu = sum(usage.cpu_seconds for usage in session.usages()) - before
        figures = {"cpu_percent": 100 * cpu / case.n}
        return Work(case.n, case.n, cpu, 1, figures=figures)


class Soak(Scenario):
    """Throughput for so many seconds: memory must not grow, and the rate must not fall."""

    name = "soak"
    operation = "workflow"
    most_repeats = 1

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, n or 120, concurrency or 50)]

    async def run(self, session: Session, case: Case) -> Work:
        began = time.perf_counter()
        done: list[float] = []
        memory: list[float] = []

        async def client() -> None:
            while not done or done[-1] < began + case.n:
                await session.one_activity(len(done))
                done.append(time.perf_counter())

        async def watch() -> None:
            while True:
                memory.append(rss_mib())
                await asyncio.sleep(case.n / 50)

        with session.meter() as meter:
            watching = asyncio.create_task(watch())
            async with asyncio.TaskGroup() as clients:
                for _ in range(case.concurrency):
                    clients.create_task(client())
            watching.cancel()
        figures = _trend(memory, [moment - began for moment in done], case.n)
        return Work(len(done), meter.seconds, meter.cpu_seconds, len(done), figures=figures)


def _trend(memory: list[float], done: list[float], seconds: float) -> dict[str, float]:
    """The last quarter against the second: in the first, caches fill."""
    quarter = max(len(memory) // 4, 1)
    early, late = memory[quarter : 2 * quarter] or memory, memory[-quarter:]
    rate_early = sum(seconds / 4 <= moment < seconds / 2 for moment in done)
    rate_late = sum(moment >= seconds * 3 / 4 for moment in done)
    return {
        "early_rss_mib": median(early),
        "late_rss_mib": median(late),
        "rate_late_to_early": rate_late / max(rate_early, 1),
    }
