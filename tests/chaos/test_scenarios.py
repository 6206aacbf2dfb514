"""A short dose of every scenario; ``python -m tests.chaos`` gives a long one.

``LOOM_TEST_CHAOS_TRIALS`` says how many trials of each, by default one.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import pytest

from tests.chaos.releases import ReleaseUnavailable
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.shim import ShimUnavailable
from tests.chaos.soak import soak
from tests.chaos.stage import Grounds, Report, grounds
from tests.conftest import REQUIRE_POSTGRES
from tests.postgres import PostgresUnavailable

TRIALS = int(os.environ.get("LOOM_TEST_CHAOS_TRIALS", "1"))

CASES = [
    pytest.param(name, store, marks=[pytest.mark.postgres] if store == "postgres" else [])
    for name, entry in SCENARIOS.items()
    for store in entry.stores
]


@pytest.fixture(scope="module")
def places() -> Iterator[Grounds]:
    try:
        with grounds() as made:
            yield made
            return
    except (ShimUnavailable, PostgresUnavailable) as reason:
        unavailable = str(reason)
    if os.environ.get(REQUIRE_POSTGRES) == "1":
        pytest.fail(unavailable, pytrace=False)
    pytest.skip(unavailable)


def test_a_scenario_in_which_nothing_goes_wrong_shows_nothing() -> None:
    report = Report("system-calls", "sqlite")
    report.faults["start stories that had ended before"] += 1
    assert len(SCENARIOS["system-calls"].missing(report)) == 5
    report.faults["deaths in a timer"] += 1
    assert len(SCENARIOS["system-calls"].missing(report)) == 4


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "store"), CASES)
async def test_nothing_is_lost_and_nothing_doubled(places: Grounds, name: str, store: str) -> None:
    report = Report(name, store)
    entry = SCENARIOS[name]
    for seed in (*entry.seeds, *range(TRIALS - 1)):
        try:
            await places.play(entry.scenario, report, seed, is_short=True)
        except ReleaseUnavailable as reason:
            pytest.skip(str(reason))
    assert report.violations == []
    assert entry.missing(report) == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "store", ["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres])]
)
async def test_a_short_soak_gives_every_result(places: Grounds, store: str) -> None:
    # Too short to tell whether anything grows.
    report = Report("soak", store)
    await places.play(functools.partial(soak, minutes=2, seconds=1.0), report, seed=0)
    assert report.violations == []
    assert report.faults.total() == 2
