"""Measuring one sample, in the process that was made for it."""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection

from benchmarks import newer_sqlite, questions
from benchmarks.figures import percentiles
from benchmarks.meter import peak_rss_mib
from benchmarks.records import Case, Sample, Work
from benchmarks.scenarios import SCENARIOS
from benchmarks.subjects import open_session


def measure_for(
    parent: Connection, subject: str, store: str, case: Case, dsn: str, newer: bool
) -> None:
    """What the process runs. It is here because this module imports nothing that weighs."""
    if newer:
        newer_sqlite.use()
    parent.send(measure(subject, store, case, dsn))


def measure(subject: str, store: str, case: Case, dsn: str) -> Sample:
    """Run a case on a database that nobody has used before."""
    return asyncio.run(_measure(subject, store, case, dsn))


async def _measure(subject: str, store: str, case: Case, dsn: str) -> Sample:
    scenario = SCENARIOS[case.scenario]
    async with open_session(subject, dsn, case) as session:
        empty = await questions.size(session, store)
        warm_up = scenario.warm_up(case)
        warming = None if warm_up is None else await scenario.run(session, warm_up)
        work = await scenario.run(session, case)
        full = await questions.size(session, store)
        grown = None if empty is None or full is None else full - empty
        written = work.operations + (warming.operations if warming else 0)
        return Sample(
            work=work,
            latency_ms=_latency_ms(work),
            peak_rss_mib=max([peak_rss_mib(), *(u.peak_rss_mib for u in session.usages())]),
            database_bytes_per_operation=None if grown is None else grown / written,
            durability=await questions.durability(session, store),
            versions=await questions.versions(session, store),
        )


def _latency_ms(work: Work) -> dict[str, float]:
    return percentiles(1000 * seconds for seconds in work.latencies) if work.latencies else {}
