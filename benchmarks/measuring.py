"""Measuring one sample, in the process that was made for it."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks import questions
from benchmarks.figures import percentiles
from benchmarks.records import Case, Sample
from benchmarks.scenarios import SCENARIOS
from benchmarks.subjects import open_session


class Meter:
    """Wall clock, and CPU time of this process with all its threads, while the block runs."""

    def __enter__(self) -> Self:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu_seconds = time.process_time() - self._cpu


_STATUS: Final = Path("/proc/self/status")
_RSS_UNITS_PER_MIB: Final = 1024 * 1024 if sys.platform == "darwin" else 1024


def peak_rss_mib() -> float:
    """The most memory that this process has had."""
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _RSS_UNITS_PER_MIB
    # On Linux getrusage begins with what the parent had.
    lines = _STATUS.read_text().splitlines()
    [peak] = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) / 1024


def measure_for(parent: Connection, subject: str, store: str, case: Case, dsn: str) -> None:
    """What the process runs. It is here because this module imports nothing that weighs."""
    parent.send(measure(subject, store, case, dsn))


def measure(subject: str, store: str, case: Case, dsn: str) -> Sample:
    """Run a case on a database that nobody has used before."""
    return asyncio.run(_measure(subject, store, case, dsn))


async def _measure(subject: str, store: str, case: Case, dsn: str) -> Sample:
    scenario = SCENARIOS[case.scenario]
    async with open_session(subject, dsn, case.concurrency) as session:
        empty = await questions.size(session, store)
        warm_up = await scenario.run(session, scenario.warm_up(case))
        with Meter() as meter:
            work = await scenario.run(session, case)
        full = await questions.size(session, store)
        grown = None if empty is None or full is None else full - empty
        operations = warm_up.operations + work.operations
        return Sample(
            operations=work.operations,
            workflows=work.workflows,
            seconds=meter.seconds,
            latency_ms=percentiles(latency * 1000 for latency in work.latencies),
            cpu_seconds=meter.cpu_seconds,
            peak_rss_mib=peak_rss_mib(),
            database_bytes_per_operation=None if grown is None else grown / operations,
            durability=await questions.durability(session, store),
            versions=await questions.versions(session, store),
        )
