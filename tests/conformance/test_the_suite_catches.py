"""The conformance suite tested itself: it must catch stores that are broken on purpose."""

from __future__ import annotations

import re

import pytest
from hypothesis import Phase, settings

from loom.storage.memory import MemoryRepository
from loom.storage.repository import Repository
from loom.testing.conformance import RepositoryConformance, StatefulConformance
from loom.testing.conformance.scene import Scene
from tests.conformance import (
    broken_attempts,
    broken_claims,
    broken_delays,  # noqa: F401  # its stores are found below
    broken_lists,
    broken_refusals,
    broken_starts,
    broken_suspects,  # noqa: F401
    broken_writes,
)
from tests.conformance.broken_stores import Broken

BROKEN = Broken.__subclasses__()

ANY_FAILURE = (Exception, pytest.fail.Exception)


async def conform(repository: Repository, broken: type[Broken]) -> None:
    """Run the test that is said to catch it."""
    test = getattr(RepositoryConformance(), broken.caught_by)
    await test(Scene(repository), **broken.arguments)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_store_is_caught_by_its_test(broken: type[Broken]) -> None:
    # First with nothing broken, so that it is the breakage which fails.
    await conform(MemoryRepository(), broken)
    with pytest.raises(ANY_FAILURE):
        await conform(broken(), broken)


@pytest.mark.parametrize("rule", range(1, 7))
def test_each_rule_has_a_test_that_catches_a_broken_store(rule: int) -> None:
    assert any(broken.caught_by.startswith(f"test_rule_{rule}_") for broken in BROKEN)


class Comparison(StatefulConformance):
    """Without looking for the shortest.

    Hypothesis draws other examples when other modules are loaded, a fixed seed or not. So it may
    try until it finds: every store here is caught by about the fiftieth example, and by the two
    hundredth of the unluckiest seed.
    """

    comparison = settings(
        StatefulConformance.comparison, max_examples=5_000, phases=[Phase.generate]
    )


@pytest.mark.parametrize(
    "broken",
    [
        broken_writes.SequenceIsNoFence,
        broken_writes.ConsumedMessagesAreForgotten,
        broken_writes.GivingBackForgetsLateMessages,
        broken_lists.RemovedTagsStay,
        broken_refusals.RepetitionsAreNotTold,
        broken_starts.TakenIdsAreReportedToNobody,
        broken_claims.MessagesGiveRunsToAnybody,
        broken_claims.ReleasedRunsLoseTheirTimer,
        broken_claims.AttemptsAreNotFenced,
        broken_attempts.HeartbeatsAreNotFenced,
        broken_attempts.ParkedAttemptsCountAsFailed,
        broken_attempts.LateRetriesAreForbidden,
    ],
    ids=lambda broken: broken.__name__,
)
async def test_random_operations_catch_a_broken_store_too(broken: type[Broken]) -> None:
    comparison = Comparison()
    test = comparison.test_any_sequence_of_operations_does_what_the_reference_does
    with pytest.raises(ANY_FAILURE):
        await test(Scene(broken()))


def test_no_test_hides_another() -> None:
    """The parts are put together by inheritance, where one name would take another's place."""
    names = [
        name
        for part in RepositoryConformance.__bases__
        for name in vars(part)
        if re.match("test_", name)
    ]
    assert len(names) == len(set(names))
