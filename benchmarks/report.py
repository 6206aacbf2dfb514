"""Results as JSON for programs, and as tables for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

from benchmarks.databases import file_system, scratch_folder
from benchmarks.figures import Spread, ratios, spread
from benchmarks.records import Sample
from benchmarks.suite import Results

FORMAT: Final = 1
"""Grows when a field changes its meaning."""

type Json = dict[str, Any]


def as_json(results: Sequence[Results]) -> Json:
    """Everything, and the machine that it was measured on."""
    return {
        "format": FORMAT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "file_system": file_system(scratch_folder()),
        },
        "results": [entry for result in results for entry in _cases(result)],
        "comparisons": [entry for result in results for entry in _comparisons(result)],
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
            "repeats": len(mine),
            "subjects": {name: _figures(samples) for name, samples in by_subject.items()},
            "ratios": {f"{first}/{other}": _ratios(mine, theirs) for other, theirs in others},
        }


def _figures(samples: Sequence[Sample]) -> Json:
    first = samples[0]
    per_workflow = first.operations / first.workflows
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
        "durability": dict(first.durability),
        "versions": dict(first.versions),
    }


def _ratios(mine: Sequence[Sample], theirs: Sequence[Sample]) -> Json:
    return {
        "rate": asdict(ratios([s.rate for s in mine], [s.rate for s in theirs])),
        "cpu": asdict(ratios([s.cpu_ms for s in mine], [s.cpu_ms for s in theirs])),
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


# --- for people ----------------------------------------------------------------------------------

_PERCENTILES: Final = ("p50", "p95", "p99")
_HEADINGS: Final = (
    *("n", "clients", "subject", "rate/s", "min-max"),
    *(f"{name} ms" for name in _PERCENTILES),
    *("CPU ms", "RSS MiB", "bytes"),
)


def as_text(document: Json) -> str:
    """The same as a table for each scenario and store."""
    parts = []
    results = document["results"]
    for scenario, store in dict.fromkeys((r["scenario"], r["store"]) for r in results):
        chosen = [r for r in results if (r["scenario"], r["store"]) == (scenario, store)]
        parts += [f"{scenario} on {store}, per {chosen[0]['operation']}", ""]
        parts += _table([_HEADINGS, *(row for result in chosen for row in _rows(result))])
        parts += ["", *_remarks(chosen), ""]
    for comparison in document["comparisons"]:
        where = f"{comparison['subject']} on {comparison['store']}"
        parts.append(f"{where}: {comparison['name']}: {_times(comparison['ratio'])}")
    return "\n".join(parts).rstrip()


def _rows(result: Json) -> Iterator[tuple[str, ...]]:
    for subject, figures in result["subjects"].items():
        rate, latency = figures["rate_per_second"], figures["latency_ms"]
        size = figures["database_bytes_per_operation"]
        yield (
            f"{result['n']:,}",
            str(result["concurrency"]),
            subject,
            f"{rate['median']:,.0f}",
            f"{rate['min']:,.0f}-{rate['max']:,.0f}",
            *(f"{latency[name]:.2f}" for name in _PERCENTILES),
            f"{figures['cpu_ms_per_operation']:.3f}",
            f"{figures['peak_rss_mib']:.0f}",
            "-" if size is None else f"{size:,.0f}",
        )


def _remarks(chosen: Sequence[Json]) -> Iterator[str]:
    for result in chosen:
        for names, ratio in result["ratios"].items():
            what = f"n = {result['n']:,}, {result['concurrency']} clients: {names}"
            yield f"{what}: rate {_times(ratio['rate'])}, CPU {_times(ratio['cpu'])}"
    for subject, figures in chosen[0]["subjects"].items():
        told = figures["durability"] | figures["versions"]
        yield f"{subject}: " + ", ".join(f"{name} {value}" for name, value in told.items())


def _times(ratio: Json) -> str:
    values = Spread(**ratio)
    return f"{values.median:.2f} x ({values.min:.2f}-{values.max:.2f})"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
