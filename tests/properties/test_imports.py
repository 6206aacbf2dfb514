"""What an imported run waits for, told from its events, is what its code waits for."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given

from loom.history.export import RunHistory
from loom.history.status import RunStatus
from loom.runner.imports import imported_run
from loom.runner.transitions import event_records
from tests.engine_harness import SimulatedRun, replayed
from tests.properties.programs import Node, programs
from tests.properties.test_replay import MOVES, Move, Played


def imported(run: SimulatedRun, length: int, status: RunStatus) -> RunHistory:
    events = tuple(event_records(run.history[:length], 0))
    return RunHistory("w", "the-run", "Program", "1", "default", status, events)


@given(programs(), MOVES)
def test_an_imported_run_waits_for_what_its_code_waits_for(
    program: Node, moves: Sequence[Move]
) -> None:
    run = Played(program, moves).run
    run.close()
    for length in run.turns:
        instance = replayed(run.workflow, run.history[:length])
        try:
            history = imported(run, length, instance.status)
            new = imported_run(history, "w", now=run.now, stays_open=True)
            assert new.effects.status is instance.status
            assert new.effects.wake_at == instance.wake_at
            waiting = instance.awaited_activities if instance.is_open else []
            assert sorted(task.activity_id for task in new.effects.tasks) == sorted(waiting)
            assert tuple(new.effects.events) == history.events
        finally:
            instance.unwind()
