"""Results as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.document import Json
from benchmarks.figures import Spread

_PERCENTILES: Final = ("p50", "p95", "p99")
_HEADINGS: Final = (
    *("case", "subject", "rate/s", "min-max"),
    *(f"{name} ms" for name in _PERCENTILES),
    *("CPU ms", "RSS MiB", "bytes"),
)


def as_text(document: Json) -> str:
    """A table for each scenario and store."""
    parts = []
    results = document["results"]
    for scenario, store in dict.fromkeys((r["scenario"], r["store"]) for r in results):
        chosen = [r for r in results if (r["scenario"], r["store"]) == (scenario, store)]
        where = "" if store == "none" else f" on {store}"
        parts += [f"{scenario}{where}, per {chosen[0]['operation']}", ""]
        parts += as_table([_HEADINGS, *(row for result in chosen for row in _rows(result))])
        parts += ["", *_remarks(chosen), ""]
    for comparison in document["comparisons"]:
        where = f"{comparison['subject']} on {comparison['store']}"
        parts.append(f"{where}: {comparison['name']}: {times(comparison['ratio'])}")
    return "\n".join(parts).rstrip()


def case_name(result: Json) -> str:
    """What tells a case from the others of its scenario."""
    parts = [result["kind"], f"n={result['n']:,}"]
    if result["concurrency"] > 1:
        parts.append(f"{result['concurrency']} clients")
    if result["processes"]:
        parts.append(f"{result['processes']} worker processes")
    return ", ".join(filter(None, parts))


def times(ratio: Json) -> str:
    """A quotient with its spread."""
    values = Spread(**ratio)
    return f"{number(values.median)} x ({number(values.min)}-{number(values.max)})"


def number(value: float) -> str:
    """With as many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def as_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns, the first two to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _rows(result: Json) -> Iterator[tuple[str, ...]]:
    for subject, figures in result["subjects"].items():
        rate, latency = figures["rate_per_second"], figures["latency_ms"]
        size = figures["database_bytes_per_operation"]
        yield (
            case_name(result),
            subject,
            number(rate["median"]),
            f"{number(rate['min'])}-{number(rate['max'])}",
            *(f"{latency[name]:.2f}" if latency else "-" for name in _PERCENTILES),
            f"{figures['cpu_ms_per_operation']:.3f}",
            f"{figures['peak_rss_mib']:.0f}",
            "-" if size is None else f"{size:,.0f}",
        )


def _remarks(chosen: Sequence[Json]) -> Iterator[str]:
    for result in chosen:
        for subject, figures in result["subjects"].items():
            for name, values in figures["figures"].items():
                told = f"{number(values['median'])}"
                yield f"{case_name(result)}, {subject}: {name.replace('_', ' ')} {told}"
        for names, ratio in result["ratios"].items():
            told = f"rate {times(ratio['rate'])}, CPU {times(ratio['cpu'])}"
            yield f"{case_name(result)}, {names}: {told}"
    subjects = {name: figures for result in chosen for name, figures in result["subjects"].items()}
    for subject, figures in subjects.items():
        told = figures["durability"] | figures["versions"]
        yield f"{subject}: " + ", ".join(f"{name} {value}" for name, value in told.items())
