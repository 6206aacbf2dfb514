"""Workflows of one activity, from start to result, by so many clients at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.records import Case, Work
from benchmarks.scenarios.base import Comparison, Samples, Scenario, rates_compared
from benchmarks.subjects.session import Session

CONCURRENCIES = (1, 50, 500)
PROCESSES = (1, 2, 4)
CLIENTS_OF_PROCESSES = 200


class Throughput(Scenario):
    """Each client starts a workflow, waits for its result, and starts the next."""

    name = "throughput"
    operation = "workflow"
    any_n_will_do = True

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        wanted = CONCURRENCIES if concurrency is None else (concurrency,)
        return [Case(self.name, n or _enough(clients), clients) for clients in wanted]

    def warm_up(self, case: Case) -> Case:
        return replace(case, n=min(case.n, max(case.concurrency, 20)))

    async def run(self, session: Session, case: Case) -> Work:
        numbers = iter(range(case.n))
        latencies: list[float] = []

        async def client() -> None:
            for number in numbers:
                started = time.perf_counter()
                await session.one_activity(number)
                latencies.append(time.perf_counter() - started)

        with session.meter() as meter:
            async with asyncio.TaskGroup() as clients:
                for _ in range(case.concurrency):
                    clients.create_task(client())
        return Work(case.n, meter.seconds, meter.cpu_seconds, case.n, latencies)


class Processes(Throughput):
    """The same with the clients in one process and the workers in others."""

    name = "processes"
    stores = frozenset({"sqlite", "postgres"})

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        clients = concurrency or CLIENTS_OF_PROCESSES
        enough = n or _enough(clients) // 2
        return [Case(self.name, enough, clients, processes=number) for number in PROCESSES]

    def compare(self, samples: Samples) -> Iterator[Comparison]:
        """More workers against one."""
        ordered = sorted(samples, key=lambda case: case.processes or 0)
        for case in ordered[1:]:
            one = ordered[0]
            name = f"rate, {case.processes} worker processes against {one.processes}"
            yield from rates_compared(samples, name, case, one)


def _enough(concurrency: int) -> int:
    """Workflows for a few seconds' work."""
    return max(500, min(80 * concurrency, 10_000))
