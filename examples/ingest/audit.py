"""Compares what Loom's history says with what the ledger and the index tell.

The history is Loom's word. The ledger is what the activities wrote down themselves, and the index
what they left behind. If Loom keeps its promise, every listed file is in the index, and nothing
was executed again after its end had been recorded.

No clock is needed for that. Loom numbers the attempts of an activity, and a later one begins only
when the earlier ones can no longer be recorded. So where attempt 2 is recorded, attempt 1 was not,
and a second attempt 2, or an attempt 3, would be a repetition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import loom

from . import activities, index, ledger
from .job import Job
from .ledger import Execution

type Verdict = Literal["recorded", "repeated", "unrecorded"]


@dataclass(frozen=True)
class Audit:
    """What became of every file, and of every execution.

    Attributes:
        listed: the files that the run was told of.
        indexed: the files that the index has.
        failures: the files that the index has as failed, and why.
        lost: listed files that the index does not have, or that no execution ended for.
        repeated: executions that began after an end of the same activity had been recorded.
        unrecorded: executions that were done over because their end was never recorded: they were
            cut short, came too late, or raised and were retried.
    """

    listed: frozenset[str]
    indexed: frozenset[str]
    failures: dict[str, str]
    lost: frozenset[str]
    repeated: tuple[Execution, ...]
    unrecorded: tuple[Execution, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, nothing repeated, and nothing indexed that was not listed."""
        return not self.lost and not self.repeated and self.known <= self.listed

    @property
    def known(self) -> frozenset[str]:
        """The files that the index has, one way or the other."""
        return self.indexed | self.failures.keys()


def audit(job: Job, run_id: str, history: Sequence[loom.HistoryEvent]) -> Audit:
    """Counts the files and the executions of a run."""
    executions = [each for each in ledger.read(job.ledger) if each.run_id == run_id]
    failures = index.failures(job.index)
    indexed = frozenset(index.names(job.index)) - failures.keys()
    listed = _listed(history)
    worked_on = {execution.file for execution in executions if execution.ended_at is not None}
    verdicts = list(_judged(executions, _recorded_attempts(history)))

    def those(wanted: Verdict) -> tuple[Execution, ...]:
        return tuple(execution for verdict, execution in verdicts if verdict == wanted)

    return Audit(
        listed=listed,
        indexed=indexed,
        failures=failures,
        lost=listed - ((indexed | failures.keys()) & worked_on),
        repeated=those("repeated"),
        unrecorded=those("unrecorded"),
    )


def _listed(history: Iterable[loom.HistoryEvent]) -> frozenset[str]:
    """The names that the listings brought."""
    listings = {
        event.attributes["activity_id"]
        for event in history
        if event.type == "ACTIVITY_SCHEDULED" and event.attributes["name"] == activities.LIST_FILES
    }
    return frozenset(
        name
        for event in history
        if event.type == "ACTIVITY_COMPLETED" and event.attributes["activity_id"] in listings
        for name in event.value
    )


def _recorded_attempts(history: Iterable[loom.HistoryEvent]) -> dict[int, int]:
    """For each activity that history has an end of, the attempt that brought it."""
    return {
        event.attributes["activity_id"]: event.attributes["attempt"]
        for event in history
        if event.type in ("ACTIVITY_COMPLETED", "ACTIVITY_FAILED")
    }


def _judged(
    executions: Iterable[Execution], recorded: dict[int, int]
) -> Iterable[tuple[Verdict, Execution]]:
    seen: set[tuple[int, int]] = set()
    for execution in executions:
        attempt = (execution.activity_id, execution.attempt)
        yield _verdict(execution, recorded.get(execution.activity_id), attempt in seen), execution
        seen.add(attempt)


def _verdict(execution: Execution, recorded: int | None, again: bool) -> Verdict:
    if again or (recorded is not None and execution.attempt > recorded):
        return "repeated"
    if execution.attempt == recorded:
        return "recorded"
    return "unrecorded"
