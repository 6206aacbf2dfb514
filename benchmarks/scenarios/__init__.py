"""The workloads, each in a file of its own."""

from __future__ import annotations

from benchmarks.scenarios.base import Scenario
from benchmarks.scenarios.sequential import Sequential
from benchmarks.scenarios.throughput import Throughput

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (Throughput(), Sequential())
}
