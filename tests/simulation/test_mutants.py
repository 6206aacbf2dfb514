"""Planted mistakes are found. ``python -m tests.simulation.mutants`` plants all of them."""

from __future__ import annotations

from typing import Final

import pytest

from tests.simulation.mutants import MUTANTS, find

QUICK: Final = (
    "a repeated message is a new one",
    "a message that was consumed may come again",
    "a successor does not know what came before",
    "messages to other runs are lost",
    "runs that a turn starts are lost",
    "attempts are not counted",
    "a closed run keeps its tasks",
    "a released run forgets its inbox",
    "of several arrivals one is taken",
    "a long turn is not counted in full",
    "whoever comes too late is told that he did not",
    "retention deletes open runs",
    "no run times out",
    "timers are set for half the time",
    "tries are not counted",
    "a start loses its signal",
    "signals to other runs are not sent",
    "children are not told of their parent's end",
    "the next run has no children",
)
"""Those that hardly a history does not show, so that it matters little which are looked at."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", QUICK)
def test_a_planted_mistake_is_found(name: str) -> None:
    [mutant] = [one for one in MUTANTS if one.name == name]
    assert find(mutant, range(60)) is not None


def test_each_mistake_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25
