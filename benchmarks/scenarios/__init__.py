"""The workloads, each kind in a file of its own."""

from __future__ import annotations

from benchmarks.scenarios.base import Scenario
from benchmarks.scenarios.fanout import FanOut
from benchmarks.scenarios.history import History
from benchmarks.scenarios.importing import Importing
from benchmarks.scenarios.latency import Latency
from benchmarks.scenarios.messages import Query, Signal
from benchmarks.scenarios.recovery import Recovery
from benchmarks.scenarios.replay import Replay
from benchmarks.scenarios.sequential import Sequential
from benchmarks.scenarios.standing import Idle, Soak, Waiting
from benchmarks.scenarios.throughput import Processes, Throughput
from benchmarks.scenarios.timer import Timer

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Throughput(),
        Processes(),
        Sequential(),
        FanOut(),
        Latency(),
        Signal(),
        Query(),
        Timer(),
        Recovery(),
        Replay(),
        Waiting(),
        History(),
        Idle(),
        Importing(),
        Soak(),
    )
}
