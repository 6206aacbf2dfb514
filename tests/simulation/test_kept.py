"""What was found is kept as plans, which show it by the code as it was, and no more as it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from tests.simulation.kept import Kept, kept_plans, read, write
from tests.simulation.more_extras import make_plan
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import Deed, Script, Step, plain_plan
from tests.simulation.shrink import shrunk
from tests.simulation.stores import Tier
from tests.simulation.trial import run_plan

KEPT = list(kept_plans())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_it_was_mended(path: Path) -> None:
    kept = read(path)
    for tier in Tier:
        assert run_plan(kept.plan, tier).violations == []


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_it_shows_what_it_is_kept_for(path: Path) -> None:
    """Where it does not, it must be found anew, by that mutant, and kept once more."""
    kept = read(path)
    if kept.mutant is None:
        pytest.skip("its code is not easily put back")
    [unmended] = [mutant for mutant in MUTANTS if mutant.name == kept.mutant]
    with unmended.planted():
        assert run_plan(kept.plan, kept.tier).violations != []


def test_a_plan_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    for seed in range(40):
        kept = Kept(Tier.SQL, make_plan(seed), "some mutant")
        write(tmp_path / "kept.json", kept)
        assert read(tmp_path / "kept.json") == kept


@pytest.mark.timeout(300)
def test_a_plan_is_made_as_small_as_it_stays_violated() -> None:
    [mutant] = [one for one in MUTANTS if one.name == "timers are set for half the time"]
    steps = (Step(Deed.START, times=2), Step(Deed.RESULT))
    sleeper = Script("sleeper", {"kind": "sleep", "number": 2}, 0.1, 2, steps, True)
    plan = next(plan for plan in map(plain_plan, count()) if plan.blows and plan.workers == 2)
    with mutant.planted():
        # One run that waits is enough, whatever else there is.
        plan, report = shrunk(replace(plan, scripts=(*plan.scripts, sleeper)), Tier.MEMORY)
        assert {violation.invariant for violation in report.violations} == {"I7"}
        assert run_plan(plan).trace == report.trace
    assert (len(plan.scripts), plan.blows, plan.fault_rate, plan.workers) == (1, (), 0.0, 1)
    assert all(step.times == 1 for script in plan.scripts for step in script.steps)


def test_what_is_not_violated_is_left_as_it_is() -> None:
    plan = plain_plan(0)
    assert shrunk(plan, Tier.MEMORY)[0] == plan
