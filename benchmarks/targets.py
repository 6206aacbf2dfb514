"""What Loom is meant to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.document import Json
from benchmarks.report import number

type Reader = Callable[[Json, str], float | None]
"""Reads a figure from a document, for a store; ``None`` when it was not measured."""


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that is to be reached, for each store."""

    name: str
    read: Reader
    wanted: Mapping[str, float]
    unit: str = ""
    is_least: bool = False
    """Whether more is better."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside what was measured."""

    store: str
    target: Target
    measured: float

    @property
    def wanted(self) -> float:
        return self.target.wanted[self.store]

    @property
    def passes(self) -> bool:
        wanted = self.wanted
        return self.measured >= wanted if self.target.is_least else self.measured <= wanted


def verdicts(document: Json) -> list[Verdict]:
    """On all targets for which the document has figures."""
    return [
        Verdict(store, target, measured)
        for target in TARGETS
        for store in target.wanted
        if (measured := target.read(document, store)) is not None
    ]


def rows(document: Json) -> Iterator[Sequence[str]]:
    """A table of them."""
    yield ("target", "store", "wanted", "measured", "")
    for verdict in verdicts(document):
        target = verdict.target
        sign = "at least" if target.is_least else "at most"
        yield (
            target.name,
            "" if verdict.store == "none" else verdict.store,
            f"{sign} {number(verdict.wanted)}{target.unit}",
            f"{number(verdict.measured)}{target.unit}",
            "pass" if verdict.passes else "MISS",
        )


# --- where figures are ---------------------------------------------------------------------------


def _entries(document: Json, store: str, where: Mapping[str, Any]) -> list[Json]:
    known = document["results"]
    wanted = {"store": store, **where}
    return [e for e in known if all(e[name] == value for name, value in wanted.items())]


def _figure(path: str, **where: Any) -> Reader:
    """A figure of Loom's, in the first case that fits."""

    def read(document: Json, store: str) -> float | None:
        for entry in _entries(document, store, where):
            value: Any = entry["subjects"]["loom"]
            for name in path.split("/"):
                value = value[name]
            return float(value)
        return None

    return read


def _ratio(other: str, what: str = "rate", **where: Any) -> Reader:
    """Loom's figure over that of another subject."""

    def read(document: Json, store: str) -> float | None:
        for entry in _entries(document, store, where):
            if f"loom/{other}" in entry["ratios"]:
                return float(entry["ratios"][f"loom/{other}"][what]["median"])
        return None

    return read


def _comparison(scenario: str, name: str) -> Reader:
    """One case of Loom's over another."""

    def read(document: Json, store: str) -> float | None:
        for entry in document["comparisons"]:
            found = entry["scenario"], entry["store"], entry["subject"], entry["name"]
            if found == (scenario, store, "loom", name):
                return float(entry["ratio"]["median"])
        return None

    return read


# --- the targets ---------------------------------------------------------------------------------

RATE: Final = "rate_per_second/median"


def _both(value: float) -> dict[str, float]:
    return {"sqlite": value, "postgres": value}


def _throughput(
    clients: int, least: Mapping[str, float], dbos: Mapping[str, float]
) -> list[Target]:
    where: dict[str, Any] = {"scenario": "throughput", "concurrency": clients}
    name = f"throughput, {clients} clients"
    return [
        Target(name, _figure(RATE, **where), least, " wf/s", is_least=True),
        Target(f"{name}, to DBOS", _ratio("dbos", **where), dbos, " x", is_least=True),
    ]


_AT_500: Final[Mapping[str, Any]] = {"scenario": "throughput", "concurrency": 500}
_STEPS: Final[Mapping[str, Any]] = {"scenario": "sequential", "n": 1_000}
_REPLAY: Final[Mapping[str, Any]] = {"scenario": "replay", "kind": "sequential", "n": 1_000}
_HERE: Final[Mapping[str, Any]] = {"scenario": "signal", "processes": None}
_ACROSS: Final[Mapping[str, Any]] = {"scenario": "signal", "processes": 1}
_P50, _P99 = "latency_ms/p50", "latency_ms/p99"

SCENARIOS: Final = (
    *("throughput", "processes", "sequential", "fanout", "latency", "signal", "timer"),
    *("recovery", "replay", "waiting", "idle"),
)
"""All that targets speak of."""

TARGETS: Final[Sequence[Target]] = (
    *_throughput(500, _both(4_000), _both(40)),
    Target(
        "throughput, 500 clients, to limit",
        _ratio("limit", **_AT_500),
        _both(0.5),
        " x",
        is_least=True,
    ),
    Target(
        "throughput, 500 clients, to limit-awaited",
        _ratio("limit-awaited", **_AT_500),
        _both(0.5),
        " x",
        is_least=True,
    ),
    *_throughput(50, _both(2_500), _both(20)),
    *_throughput(1, {"sqlite": 450, "postgres": 400}, {"sqlite": 3.5, "postgres": 3}),
    Target(
        "sequential, 1,000 steps",
        _figure(RATE, **_STEPS),
        {"sqlite": 1_300, "postgres": 1_000},
        "/s",
        is_least=True,
    ),
    Target(
        "sequential, to DBOS",
        _ratio("dbos", **_STEPS),
        {"sqlite": 6, "postgres": 4.5},
        " x",
        is_least=True,
    ),
    Target(
        "sequential, to DBOS in WAL",
        _ratio("dbos-wal", **_STEPS),
        {"sqlite": 2.5},
        " x",
        is_least=True,
    ),
    Target(
        "cost per step, 20,000 against 100",
        _comparison("sequential", "cost per step, N = 20000 against 100"),
        _both(1.2),
        " x",
    ),
    Target(
        "latency, p50", _figure(_P50, scenario="latency"), {"sqlite": 2.5, "postgres": 3}, " ms"
    ),
    Target("latency, p99", _figure(_P99, scenario="latency"), {"sqlite": 8, "postgres": 10}, " ms"),
    Target(
        "fan-out, 1,000 activities",
        _figure("figures/seconds/median", scenario="fanout", kind="activities", n=1_000),
        _both(0.5),
        " s",
    ),
    Target(
        "fan-out, 1,000 children",
        _figure("figures/seconds/median", scenario="fanout", kind="children", n=1_000),
        _both(1),
        " s",
    ),
    Target("signal round trip, in process, p50", _figure(_P50, **_HERE), _both(5), " ms"),
    Target(
        "signal round trip, across processes, p50",
        _figure(_P50, **_ACROSS),
        {"sqlite": 15, "postgres": 8},
        " ms",
    ),
    Target(
        "recovery of 1,000 runs, after the lease",
        _figure("figures/seconds_after_lease/median", scenario="recovery", n=1_000),
        _both(3),
        " s",
    ),
    Target(
        "timer, overshoot unloaded, p99",
        _figure(_P99, scenario="timer", kind="alone"),
        _both(20),
        " ms",
    ),
    Target(
        "4 worker processes against 1",
        _comparison("processes", "rate, 4 worker processes against 1"),
        _both(1),
        " x",
        is_least=True,
    ),
    Target(
        "replay, 1,000 sequential activities",
        _figure(RATE, **_REPLAY),
        {"none": 30_000},
        "/s",
        is_least=True,
    ),
    Target(
        "replay, to temporalio's Replayer",
        _ratio("temporal", **_REPLAY),
        {"none": 20},
        " x",
        is_least=True,
    ),
    Target(
        "replay, cost per activity, 20,000 against 1,000",
        _comparison("replay", "cost per activity, N = 20000 against 1000"),
        {"none": 1.2},
        " x",
    ),
    Target(
        "100,000 waiting runs, memory of the process that opened them",
        _figure("figures/opener_rss_mib/median", scenario="waiting", n=100_000),
        _both(200),
        " MiB",
    ),
    Target(
        "100,000 waiting runs, memory of a process beside them",
        _figure("figures/rss_mib/median", scenario="waiting", n=100_000),
        _both(200),
        " MiB",
    ),
    Target(
        "100,000 waiting runs, start until ready",
        _figure("figures/ready_seconds/median", scenario="waiting", n=100_000),
        _both(2),
        " s",
    ),
    Target(
        "idle worker, share of a core",
        _figure("figures/cpu_percent/median", scenario="idle", processes=1),
        _both(1),
        " %",
    ),
    Target(
        "peak memory, 500 clients",
        _figure("peak_rss_mib", **_AT_500),
        _both(150),
        " MiB",
    ),
)
