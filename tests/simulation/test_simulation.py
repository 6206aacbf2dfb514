"""Seeded histories of the world keep every promise, and each can be had again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.__main__ import Sum, run_seeds
from tests.simulation.extras import extra_plan
from tests.simulation.more_extras import make_plan
from tests.simulation.network import BATCHES, WRITES
from tests.simulation.plan import Blow, CallFault, Deed, Fault, Plan, Script, Step, plain_plan
from tests.simulation.programs import KINDS
from tests.simulation.richer import rich_plan
from tests.simulation.stores import Tier
from tests.simulation.trial import Trial, run_plan

ROOT = Path(__file__).resolve().parents[2]

_TRACES = """
from tests.simulation.more_extras import make_plan
from tests.simulation.trial import run_plan
print([run_plan(make_plan(seed)).trace for seed in range(4)])
"""


@pytest.fixture(scope="module")
def dose() -> Sum:
    """A short one; ``python -m tests.simulation`` gives longer ones."""
    return run_seeds(0, 250, Tier.MEMORY)


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled(dose: Sum) -> None:
    assert dose.violated == []


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled_by_the_real_sql() -> None:
    assert run_seeds(1_000, 60, Tier.SQL).violated == []


SIMULATIONS_OWN = [(Tier.MEMORY, 1002345), (Tier.SQL, 800059)]
"""Seeds that once showed mistakes of the simulation. Those of Loom are kept as plans."""


@pytest.mark.parametrize(("tier", "seed"), SIMULATIONS_OWN)
def test_what_was_once_violated_is_kept(tier: Tier, seed: int) -> None:
    assert run_plan(plain_plan(seed), tier).violations == []


@pytest.mark.parametrize("seed", [1123, 1861])
def test_what_was_once_violated_by_more_of_something_is_kept(seed: int) -> None:
    assert run_plan(rich_plan(seed)).violations == []


def test_a_late_start_of_a_process_that_code_has_ended_finds_the_run_there_is() -> None:
    """A seed by which it was a run of its own, to which nobody spoke."""
    assert run_plan(extra_plan(10803986)).violations == []


class LongWork(Trial):
    """Where each activity takes much longer than a lease."""

    async def _take_time(self) -> None:
        await asyncio.sleep(3.0)


def test_long_activities_end_although_the_store_is_far_away() -> None:
    program = {"kind": "sequence", "nodes": [{"kind": "activity", "number": 0}]}
    steps = (Step(Deed.START), Step(Deed.RESULT))
    plan = Plan(
        seed=0,
        workers=2,
        scripts=(Script("w0", program, 0.0, 2, steps),),
        latency=0.1,
        settings={"lease_seconds": 0.5, "max_lost_attempts": 1000},
    )
    assert LongWork(plan).run().violations == []


def test_every_clock_is_right_once_all_is_quiet() -> None:
    """Whether what goes wrong ends by itself before, just then, or not at all."""
    steps = (Step(Deed.START), Step(Deed.RESULT))
    script = Script("w0", {"kind": "sleep", "number": 3}, 0.0, 1, steps)
    blows = tuple(Blow(Fault.CLOCK, 0.7, lasts, 1, 30.0) for lasts in (0.5, 1.3, 4.0))
    trial = Trial(Plan(seed=0, workers=1, scripts=(script,), blows=blows, faults_end=2.0))
    assert trial.run().violations == []
    assert [node.clock.error for node in trial.nodes] == [0, 0]


@pytest.mark.timeout(300)
def test_every_kind_of_fault_is_reached_and_much_of_what_a_run_can_do(dose: Sum) -> None:
    wanted = {f"fault {fault}{when}" for fault in Fault for when in ("", " at a write")}
    # Some are parts of others.
    wanted |= {f"program {kind}" for kind in KINDS - {"raise", "hears"}}
    # There is nothing between the statements of a store that has none.
    wanted |= set(_calls(WRITES, *(set(CallFault) - {CallFault.BROKEN, CallFault.SPOILED})))
    wanted |= set(_calls(BATCHES, CallFault.SPOILED))
    wanted |= {f"run {status}" for status in ("COMPLETED", "CANCELLED", "TERMINATED", "FAILED")}
    wanted |= {"run CONTINUED_AS_NEW", "run BLOCKED", "transition lost", "answer cut off"}
    wanted |= {f"told {how} {what}" for how in ("ok", "unknown") for what in ("start", "signal")}
    wanted |= {"notification lost", "notification repeated", "told ok update", "told ok cancel"}
    wanted |= {"processes ended by a workflow"}
    wanted |= {"TIMER_FIRED", "CHILD_COMPLETED", "CHILD_FAILED", "STATE_SET", "ACTIVITY_FAILED"}
    wanted |= {f"token accepted, {verb}" for verb in ("complete", "fail", "heartbeat", "again")}
    wanted |= {"token refused, complete", "token refused, wrong", "run TIMED_OUT", "runs deleted"}
    wanted |= {"token refused, complete of a stale one", "runs tried again"}
    wanted |= {f"start with signal, {which} run" for which in ("a new", "an open", "an ended")}
    wanted |= {"runs timed out in a chain", "SIGNAL_SENT", "CANCEL_SENT", "TAGS_SET"}
    wanted |= {"CHILD_CANCEL_REQUESTED", "told failed update"}
    assert wanted - dose.counts.keys() == set()


@pytest.mark.timeout(300)
def test_transactions_that_fail_between_two_statements_leave_nothing() -> None:
    counts: Counter[str] = Counter()
    for seed in range(15):
        plan = replace(extra_plan(seed), call_faults=(CallFault.BROKEN,), fault_rate=0.2)
        report = run_plan(plan, Tier.SQL)
        assert report.violations == []
        counts += report.counts
    assert set(_calls(WRITES, CallFault.BROKEN)) - counts.keys() == set()


def _calls(methods: Iterable[str], *faults: CallFault) -> Iterator[str]:
    return (f"call {fault.name.lower()} {method}" for fault in faults for method in methods)


@pytest.mark.timeout(300)
def test_a_seed_is_the_same_history_in_every_process() -> None:
    here = str([run_plan(make_plan(seed)).trace for seed in range(4)])
    environment = os.environ | {"PYTHONHASHSEED": "1"}
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
    assert len({run_plan(make_plan(seed)).trace for seed in range(4)}) == 4
