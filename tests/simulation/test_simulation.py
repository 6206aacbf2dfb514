"""Seeded histories of the world keep every promise, and each can be had again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.plan import make_plan
from tests.simulation.trial import run_plan

ROOT = Path(__file__).resolve().parents[2]
SEEDS = range(0, 120)
"""A short dose; ``python -m tests.simulation`` gives longer ones."""

_TRACES = """
from tests.simulation.plan import make_plan
from tests.simulation.trial import run_plan
print([run_plan(make_plan(seed)).trace for seed in range(6)])
"""


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled() -> None:
    violated = {}
    for seed in SEEDS:
        report = run_plan(make_plan(seed))
        if report.violations:
            violated[seed] = list(map(str, report.violations))
    assert violated == {}


@pytest.mark.timeout(120)
def test_a_seed_is_the_same_history_in_every_process() -> None:
    here = str([run_plan(make_plan(seed)).trace for seed in range(6)])
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        there = subprocess.run(
            [sys.executable, "-c", _TRACES],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == here


def test_another_seed_is_another_history() -> None:
    assert len({run_plan(make_plan(seed)).trace for seed in range(6)}) == 6
