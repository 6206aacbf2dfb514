"""Results as JSON, for programs and for everything that is drawn or printed from them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

from benchmarks.databases import file_system, scratch_folder
from benchmarks.figures import ratios, spread
from benchmarks.records import Sample
from benchmarks.suite import Results

FORMAT: Final = 2
"""Grows when a field changes its meaning."""

type Json = dict[str, Any]


def as_json(results: Sequence[Results], load: float) -> Json:
    """Everything, and the machine that it was measured on.

    Args:
        load: how many processes wanted to run before we began, on average over a minute.
    """
    return {
        "format": FORMAT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "load": round(load, 2),
            "file_system": file_system(scratch_folder()),
        },
        "results": [entry for result in results for entry in _cases(result)],
        "comparisons": [entry for result in results for entry in _comparisons(result)],
        "failures": [failure for result in results for failure in result.failures],
    }


def _cases(result: Results) -> Iterator[Json]:
    for case, by_subject in result.samples.items():
        (first, mine), *others = by_subject.items()
        yield {
            "scenario": case.scenario,
            "store": result.store,
            "operation": result.scenario.operation,
            "n": case.n,
            "concurrency": case.concurrency,
            "kind": case.kind,
            "processes": case.processes,
            "repeats": len(mine),
            "subjects": {name: _figures(samples) for name, samples in by_subject.items()},
            "ratios": {f"{first}/{other}": _ratios(mine, theirs) for other, theirs in others},
        }


def _figures(samples: Sequence[Sample]) -> Json:
    first = samples[0]
    per_workflow = first.work.operations / first.work.workflows
    cpu_ms = median(sample.cpu_ms for sample in samples)
    sizes = [s.database_bytes_per_operation for s in samples]
    size = median(known) if (known := [size for size in sizes if size is not None]) else None
    return {
        "rate_per_second": asdict(spread(sample.rate for sample in samples)),
        "latency_ms": {
            name: median(sample.latency_ms[name] for sample in samples) for name in first.latency_ms
        },
        "cpu_ms_per_operation": cpu_ms,
        "cpu_ms_per_workflow": cpu_ms * per_workflow,
        "peak_rss_mib": median(sample.peak_rss_mib for sample in samples),
        "database_bytes_per_operation": size,
        "database_bytes_per_workflow": None if size is None else size * per_workflow,
        "figures": {
            name: asdict(spread(sample.work.figures[name] for sample in samples))
            for name in first.work.figures
        },
        "durability": dict(first.durability),
        "versions": dict(first.versions),
    }


def _ratios(mine: Sequence[Sample], theirs: Sequence[Sample]) -> Json:
    of_latency = {
        name: asdict(
            ratios([s.latency_ms[name] for s in mine], [s.latency_ms[name] for s in theirs])
        )
        for name in mine[0].latency_ms.keys() & theirs[0].latency_ms.keys()
    }
    return {
        "rate": asdict(ratios([s.rate for s in mine], [s.rate for s in theirs])),
        "cpu": asdict(ratios([s.cpu_ms for s in mine], [s.cpu_ms for s in theirs])),
        **{f"latency_{name}": of_latency[name] for name in sorted(of_latency)},
    }


def _comparisons(result: Results) -> Iterator[Json]:
    for comparison in result.scenario.compare(result.samples):
        yield {
            "scenario": result.scenario.name,
            "store": result.store,
            "subject": comparison.subject,
            "name": comparison.name,
            "ratio": asdict(comparison.ratio),
        }
