"""The checker: whether the records of a trial show that Loom kept its promises.

``check(Evidence(...))`` returns what was violated; an empty list is the proof of one trial. It
knows nothing of how the trial was made: the simulation and the chaos tests share it.

    evidence = Evidence(await take_dump(repository, now), told, ledger)
    assert check(evidence, replayer=loom.Replayer(workflows=WORKFLOWS)) == []

The invariants:

I1. No acknowledged start, signal, update or cancel is lost.
I2. One request id has one effect.
I3. An activity's result enters history exactly once, and never without its effect in the ledger.
I4. History is gapless and fenced: a stale owner commits nothing.
I5. Nothing is appended after close; results never change.
I6. Every open run moves on once faults stop.
I7. No timer fires early or is lost.
I8. Every stored history replays to identical commands.
I9. A poisoned run stops alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from loom.runner.replayer import Replayer
from tests.proof.acknowledged import nothing_acknowledged_is_lost
from tests.proof.arrivals import no_request_has_two_effects
from tests.proof.endings import (
    closed_runs_stay_as_they_are,
    every_run_has_ended,
    poisoned_runs_stop_alone,
)
from tests.proof.histories import (
    histories_are_gapless_and_fenced,
    results_come_once_and_have_had_their_effect,
    timers_fire_once_and_in_time,
)
from tests.proof.records import Evidence
from tests.proof.replaying import histories_replay


class Invariant(StrEnum):
    ACKNOWLEDGED_IS_KEPT = "I1"
    ONE_EFFECT = "I2"
    RESULTS_ONCE = "I3"
    GAPLESS_AND_FENCED = "I4"
    CLOSED_IS_CLOSED = "I5"
    MOVES_ON = "I6"
    TIMERS = "I7"
    REPLAYS = "I8"
    POISON_STOPS_ALONE = "I9"


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: Invariant
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


_CHECKS: Final[dict[Invariant, Callable[[Evidence], Iterator[str]]]] = {
    Invariant.ACKNOWLEDGED_IS_KEPT: nothing_acknowledged_is_lost,
    Invariant.ONE_EFFECT: no_request_has_two_effects,
    Invariant.RESULTS_ONCE: results_come_once_and_have_had_their_effect,
    Invariant.GAPLESS_AND_FENCED: histories_are_gapless_and_fenced,
    Invariant.CLOSED_IS_CLOSED: closed_runs_stay_as_they_are,
    Invariant.MOVES_ON: every_run_has_ended,
    Invariant.TIMERS: timers_fire_once_and_in_time,
    Invariant.POISON_STOPS_ALONE: poisoned_runs_stop_alone,
}


def check(evidence: Evidence, *, replayer: Replayer | None = None) -> list[Violation]:
    """What the evidence shows to be violated.

    Args:
        replayer: with the workflows' code; without one, I8 is not decided.
    """
    found = [
        Violation(invariant, what) for invariant, find in _CHECKS.items() for what in find(evidence)
    ]
    if replayer is not None:
        found += [
            Violation(Invariant.REPLAYS, what) for what in histories_replay(evidence, replayer)
        ]
    return found


def counts(violations: list[Violation]) -> Counter[Invariant]:
    return Counter(violation.invariant for violation in violations)
