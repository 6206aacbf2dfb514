"""The end of a run whose code has no say in it."""

from __future__ import annotations

from loom.history.events import (
    ActivityCompleted,
    Stamped,
    WorkflowStarted,
    WorkflowTerminated,
)
from loom.history.status import RunStatus
from loom.runner.transitions import terminated_effects
from loom.storage.records import RunRecord

RUN = RunRecord(1, "order", "0" * 32, "Order", "1", "default", RunStatus.RUNNING, 2, 10, 20)


def test_the_stamps_of_a_run_do_not_decrease_when_it_is_ended_by_a_clock_that_is_behind() -> None:
    history = [
        Stamped(WorkflowStarted("Order", "1", b"null"), 10),
        Stamped(ActivityCompleted(1, 1, b"null"), 20),
    ]
    effects = terminated_effects(RUN, history, [Stamped(WorkflowTerminated(""), 15)], after=2)
    assert [event.recorded_at for event in effects.events] == [20]
    assert effects.recorded_at == 20
