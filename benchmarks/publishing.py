"""The page in ``docs/``: its tables and plots, written from what was measured.

``python -m benchmarks.publishing FILE...`` writes them from what ``--json`` has saved; of figures
that are in several files the last count.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import targets
from benchmarks.document import Json
from benchmarks.figures import Spread
from benchmarks.plots import Dot, Group, dot_plot
from benchmarks.report import case_name, number, times
from benchmarks.scenarios import SCENARIOS

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGE: Final = "benchmarks.md"
FOLDER: Final = "benchmarks"
FIGURES: Final = "figures.json"
BEGIN: Final = (
    "<!-- What follows is written by `python -m benchmarks all --peer all --publish`. -->"
)
END: Final = "<!-- So far what was measured. -->"

STORES: Final = {"sqlite": "SQLite", "postgres": "Postgres", "memory": "memory", "none": ""}
PLOTTED: Final = ("throughput", "processes", "sequential", "latency", "signal", "replay")


def publish(document: Json, docs: Path = DOCS) -> None:
    """Write figures, plots and tables.

    Raises ``ValueError`` when the page does not say where they belong.
    """
    page = docs / PAGE
    before, _, rest = page.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{page} has no place for figures, between {BEGIN!r} and {END!r}")
    folder = docs / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / FIGURES).write_text(json.dumps(document, indent=1) + "\n")
    for old in folder.glob("*.svg"):
        old.unlink()
    for name, plot in plots(document).items():
        (folder / name).write_text(plot)
    page.write_text(f"{before}{BEGIN}\n\n{as_markdown(document)}\n{END}{after}")


def merged(documents: Sequence[Json]) -> Json:
    """One document of several; the machine and the date are those of the last."""
    results = {_key(entry): entry for document in documents for entry in document["results"]}
    comparisons = {
        (entry["scenario"], entry["store"], entry["subject"], entry["name"]): entry
        for document in documents
        for entry in document["comparisons"]
    }
    return documents[-1] | {
        "results": list(results.values()),
        "comparisons": list(comparisons.values()),
    }


def _key(entry: Json) -> tuple[Any, ...]:
    names = ("scenario", "store", "n", "concurrency", "kind", "processes")
    return tuple(entry[name] for name in names)


# --- plots ---------------------------------------------------------------------------------------


def plots(document: Json) -> dict[str, str]:
    """SVG files by name."""
    return {
        _plot_name(scenario, store): _plot(scenario, store, entries)
        for (scenario, store), entries in _by_scenario(document).items()
        if scenario in PLOTTED
    }


def _plot(scenario: str, store: str, entries: Sequence[Json]) -> str:
    by_latency = scenario in ("latency", "signal")
    unit = "p50 in ms" if by_latency else f"{_plural(entries[0]['operation'])} per second"
    groups = [Group(case_name(entry), list(_dots(entry, by_latency))) for entry in entries]
    return dot_plot(f"{_title(scenario, store)}: {unit}", groups)


def _dots(entry: Json, by_latency: bool) -> Iterator[Dot]:
    for subject, figures in entry["subjects"].items():
        if by_latency:
            p50 = figures["latency_ms"]["p50"]
            yield Dot(subject, Spread(p50, p50, p50))
        else:
            yield Dot(subject, Spread(**figures["rate_per_second"]))


# --- text ----------------------------------------------------------------------------------------


def as_markdown(document: Json) -> str:
    """What belongs on the page."""
    parts = [*_heading(document), *_targets(document), *_losses(document)]
    for (scenario, store), entries in _by_scenario(document).items():
        parts += [f"### {_title(scenario, store)}", ""]
        if scenario in PLOTTED:
            title = _title(scenario, store)
            parts += [f"![{title}]({FOLDER}/{_plot_name(scenario, store)})", ""]
        parts += [*_markdown(_rows(entries)), ""]
        parts += [*_compared(document, scenario, store), *_versions(entries), ""]
    return "\n".join(parts)


def _heading(document: Json) -> Iterator[str]:
    machine = document["machine"]
    yield "## Figures"
    yield ""
    yield (
        f"{document['date'][:10]}, {machine['system']} on {machine['processor']}, "
        f"{machine['cores']} cores, {machine['file_system']}; load before we began "
        f"{machine['load']}. Medians, with the extremes, of {_repeats(document)}. All of it is in "
        f"[{FIGURES}]({FOLDER}/{FIGURES})."
    )
    yield ""


def _repeats(document: Json) -> str:
    repeats = sorted({entry["repeats"] for entry in document["results"]})
    return " or ".join(f"{number} repeat{'s' * (number > 1)}" for number in repeats)


def _targets(document: Json) -> Iterator[str]:
    yield "### What Loom is to reach"
    yield ""
    yield from _markdown(list(targets.rows(document)))
    yield ""


def _losses(document: Json) -> Iterator[str]:
    yield "### Where Loom loses"
    yield ""
    losses = [
        f"- {_title(entry['scenario'], entry['store'])}, {case_name(entry)}: {times(ratio['rate'])}"
        f" the rate of {names.partition('/')[2]}."
        for entry in document["results"]
        for names, ratio in entry["ratios"].items()
        if ratio["rate"]["median"] < 1 and not names.endswith(("/limit", "/limit-awaited"))
    ]
    yield from losses or ["To none of the peers, in what was measured."]
    yield ""
    yield "And to the bare rows, which decide nothing: the tables say by how much."
    yield ""


def _rows(entries: Sequence[Json]) -> list[Sequence[str]]:
    names = list(
        dict.fromkeys(n for e in entries for f in e["subjects"].values() for n in f["figures"])
    )
    has_latency = any(f["latency_ms"] for e in entries for f in e["subjects"].values())
    percentiles = ["p50", "p95", "p99"] if has_latency else []
    headings = ["case", "subject", f"{_plural(entries[0]['operation'])}/s", "min-max"]
    headings += [f"{name} ms" for name in percentiles]
    headings += ["CPU ms", "RSS MiB", "bytes", *(name.replace("_", " ") for name in names)]
    rows: list[Sequence[str]] = [[*headings, "Loom to it"]]
    for entry in entries:
        for subject, figures in entry["subjects"].items():
            rate, size = figures["rate_per_second"], figures["database_bytes_per_operation"]
            ratio = entry["ratios"].get(f"loom/{subject}")
            own = figures["figures"]
            rows.append(
                [
                    *(case_name(entry), subject, number(rate["median"])),
                    f"{number(rate['min'])}-{number(rate['max'])}",
                    *(number(figures["latency_ms"][name]) for name in percentiles),
                    f"{figures['cpu_ms_per_operation']:.3f}",
                    f"{figures['peak_rss_mib']:.0f}",
                    "" if size is None else f"{size:,.0f}",
                    *(number(own[name]["median"]) if name in own else "" for name in names),
                    times(ratio["rate"]) if ratio else "",
                ]
            )
    return rows


def _compared(document: Json, scenario: str, store: str) -> Iterator[str]:
    found = [
        f"- {entry['subject']}: {entry['name']}: {times(entry['ratio'])}"
        for entry in document["comparisons"]
        if (entry["scenario"], entry["store"]) == (scenario, store)
    ]
    yield from found
    if found:
        yield ""


def _versions(entries: Sequence[Json]) -> Iterator[str]:
    subjects = {name: figures for entry in entries for name, figures in entry["subjects"].items()}
    for subject, figures in subjects.items():
        told = figures["durability"] | figures["versions"]
        yield f"- {subject}: {', '.join(f'{name} {value}' for name, value in told.items())}"


def _markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    head, *body = rows
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in body:
        yield f"| {' | '.join(row)} |"


def _by_scenario(document: Json) -> dict[tuple[str, str], list[Json]]:
    """In the order of the scenarios, the stores of each together."""
    found: dict[tuple[str, str], list[Json]] = {
        (scenario, store): [] for scenario in SCENARIOS for store in STORES
    }
    for entry in document["results"]:
        found[entry["scenario"], entry["store"]].append(entry)
    return {where: entries for where, entries in found.items() if entries}


def _title(scenario: str, store: str) -> str:
    return f"{scenario} on {STORES[store]}" if STORES[store] else scenario


def _plot_name(scenario: str, store: str) -> str:
    return f"{scenario}-{store}.svg" if STORES[store] else f"{scenario}.svg"


def _plural(operation: str) -> str:
    exceptions = {"branch": "branches", "query": "queries", "activity": "activities"}
    return exceptions.get(operation, f"{operation}s")


if __name__ == "__main__":
    publish(merged([json.loads(Path(name).read_text()) for name in sys.argv[1:]]))
