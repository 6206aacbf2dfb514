"""A short dose of hostile input at every boundary; ``python -m tests.fuzz`` gives a long one."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from collections.abc import Iterator
from random import Random

import pytest

from loom.errors import PayloadError
from tests.fuzz.applications import applications
from tests.fuzz.targets import PURE, Target
from tests.fuzz.trials import Outcome, try_many, try_one

INPUTS = 5_000
SLOW = 600


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """What is logged of damage is not looked at here."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def check(outcome: Outcome, targets: tuple[Target, ...]) -> None:
    assert outcome.findings == [], "\n".join(map(str, outcome.findings))
    # An input that is never taken, or never refused, would find nothing behind the boundary.
    assert {target.name for target in targets} <= set(outcome.taken)


def test_what_comes_in_is_taken_or_refused_and_does_nothing_else() -> None:
    check(try_many(PURE, INPUTS, seed=1), PURE)


def test_an_application_takes_or_refuses_what_it_is_asked_given_and_finds_in_its_rows() -> None:
    with applications() as targets:
        check(try_many(targets, SLOW, seed=1), targets)


# --- the harness itself --------------------------------------------------------------------------


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("1 + 1",)


@pytest.mark.parametrize(
    "done",
    [
        lambda: eval("1 + 1"),
        lambda: exec("a = 1"),
        lambda: pickle.loads(pickle.dumps(Evil())),
        lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        lambda: [][1],
        lambda: sys.exit(1),
    ],
)
def test_what_data_may_not_bring_about_is_a_finding(done: object) -> None:
    def feed(chance: Random) -> None:
        assert callable(done)
        done()

    outcome = Outcome()
    try_one(Target("planted", feed, (PayloadError,)), 0, 0, outcome)
    assert len(outcome.findings) == 1


def test_a_refusal_of_another_kind_is_a_finding() -> None:
    def feed(chance: Random) -> None:
        raise PayloadError("not this one")

    outcome = Outcome()
    try_one(Target("planted", feed, ()), 0, 0, outcome)
    assert len(outcome.findings) == 1


def test_an_input_is_made_again_by_its_number() -> None:
    def drawn() -> list[float]:
        seen: list[float] = []
        target = Target("planted", lambda chance: seen.append(chance.random()), ())
        try_many([target], 5, seed=3)
        return seen

    assert drawn() == drawn()
    assert len(set(drawn())) == 5
