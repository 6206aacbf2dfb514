"""A run is a function of its arrivals: however they come, the history is the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loom.engine.decision import LoggedLine
from loom.engine.instance import WorkflowInstance
from loom.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ArrivalEvent,
    SignalReceived,
    Stamped,
    WorkflowCancelRequested,
    WorkflowTerminated,
)
from loom.history.failures import Failure
from loom.identifiers import MICROS_PER_SECOND
from tests.engine_harness import SimulatedRun, new_instance, replayed
from tests.properties.programs import Branch, Leaf, Node, programs, workflow_for

FAILURE = Failure("Error", "an activity failed")


@dataclass(frozen=True)
class Move:
    """What happens next to a run; ``choice`` picks among what it waits for."""

    kind: str
    choice: int


MOVES = st.lists(
    st.builds(
        Move,
        st.sampled_from(
            ["complete"] * 6 + ["fail"] * 2 + ["time"] * 4 + ["signal"] * 3 + ["stray", "cancel"]
        ),
        st.integers(0, 5),
    ),
    min_size=8,
    max_size=25,
)


def events_for(move: Move, run: SimulatedRun) -> list[ArrivalEvent]:
    pending = run.pending
    if move.kind == "signal":
        return [run.signalled(f"signal-{move.choice % 2}", move.choice)]
    if move.kind == "cancel":
        return [WorkflowTerminated("end") if move.choice == 5 else WorkflowCancelRequested("stop")]
    if move.kind == "stray":
        return [ActivityCompleted(1 + move.choice, 1, run.converter.encode(0))]
    if move.kind == "time":
        run.now = max(run.instance.wake_at or 0, run.now)
        return run.instance.take_due(run.now)
    if not pending:
        return []
    activity_id = pending[move.choice % len(pending)].activity_id
    if move.kind == "fail":
        return [ActivityFailed(activity_id, 1, FAILURE)]
    return [ActivityCompleted(activity_id, 1, run.converter.encode(move.choice))]


class Played:
    """A run that was played live, one arrival a turn, with all that was sent to it."""

    def __init__(self, program: Node, moves: Sequence[Move]) -> None:
        self.run = run = SimulatedRun(workflow_for(program)).start()
        self.sent: list[Stamped] = [run.history[0]]
        # Then whatever is open is answered, so that most runs end.
        ending = [Move(kind, 0) for kind in ("complete", "time", "signal")] * 8
        for move in [*moves, *ending]:
            run.now += MICROS_PER_SECOND // 4
            for event in events_for(move, run):
                self.sent.append(Stamped(event, run.now))
                run.deliver(event)
        self.state = state_of(run.instance)
        run.close()


def state_of(instance: WorkflowInstance) -> tuple[object, ...]:
    """All of an instance that what it does next depends on, but for its coroutines."""
    return (
        instance.status,
        instance.wake_at,
        instance._recorder.last_id,
        instance._log.count,
        instance.history_length,
        instance.random.getstate(),
        sorted(instance._activities) if instance.is_open else None,
    )


@contextmanager
def closing(instance: WorkflowInstance) -> Iterator[WorkflowInstance]:
    try:
        yield instance
    finally:
        instance.unwind()


def feed(
    instance: WorkflowInstance, turns: Sequence[Sequence[Stamped]]
) -> tuple[list[Stamped], list[LoggedLine]]:
    history, logs = [], []
    for turn in turns:
        decision = instance.activate(turn)
        history += decision.events
        logs += decision.logs
    return history, logs


def cut(arrivals: Sequence[Stamped], places: Sequence[int]) -> list[Sequence[Stamped]]:
    ends = sorted({0, len(arrivals), *(place % (len(arrivals) + 1) for place in places)})
    return [arrivals[start:end] for start, end in pairwise(ends)]


FAILING_GROUP = Branch("group", tuple(Leaf("activity", n) for n in range(6)))
CANCELLED_FINALLY = Branch("finally", (Branch("group", (Leaf("sleep", 5), Leaf("activity", 1))),))


@given(programs(), MOVES)
@example(FAILING_GROUP, [Move("fail", 3)])
@example(CANCELLED_FINALLY, [Move("cancel", 0)])
def test_replay_from_every_turn_goes_on_as_the_live_run_did(
    program: Node, moves: list[Move]
) -> None:
    played = Played(program, moves)
    history, workflow = played.run.history, played.run.workflow
    arrivals = [s for s in history if isinstance(s.event, ArrivalEvent)]
    for end in sorted(set(played.run.turns)):
        left = arrivals[sum(isinstance(s.event, ArrivalEvent) for s in history[:end]) :]
        with closing(replayed(workflow, history[:end])) as again:
            following, logs = feed(again, [[arrival] for arrival in left])
            assert following == history[end:]
            assert logs == played.run.logs[len(played.run.logs) - len(logs) :]
            assert state_of(again) == played.state


@given(programs(), MOVES, st.lists(st.integers(0, 60), max_size=6))
def test_it_does_not_matter_how_arrivals_are_gathered_into_turns(
    program: Node, moves: list[Move], places: list[int]
) -> None:
    played = Played(program, moves)
    with closing(new_instance(played.run.workflow)) as again:
        history, logs = feed(again, cut(played.sent, places))
        assert history == played.run.history
        assert logs == played.run.logs
        assert state_of(again) == played.state


@given(programs(), MOVES)
def test_it_does_not_matter_where_commands_stand_between_the_arrivals(
    program: Node, moves: list[Move]
) -> None:
    run = Played(program, moves).run
    arrivals = [s for s in run.history if isinstance(s.event, ArrivalEvent)]
    commands = [s for s in run.history if not isinstance(s.event, ArrivalEvent)]
    replayed(run.workflow, [*commands, *arrivals]).unwind()
    replayed(run.workflow, [*arrivals, *commands]).unwind()


@given(programs(), MOVES)
def test_the_history_of_a_run_is_sound(program: Node, moves: list[Move]) -> None:
    run = Played(program, moves).run
    moments = [stamped.at for stamped in run.history]
    assert moments == sorted(moments)
    asked = [getattr(event, IDS[event.type]) for event in run.commands if event.type in IDS]
    assert asked == list(range(1, len(asked) + 1))
    answered = [
        (kind, getattr(event, name))
        for event in run.events
        for kind, name in ANSWERS.get(event.type, [])
    ]
    assert len(answered) == len(set(answered))
    finals = [event for event in run.events if event.type in FINALS]
    assert len(finals) == (0 if run.status.is_open else 1)
    assert run.status.is_open or run.events[-1].type in FINALS


FINALS = {"WORKFLOW_COMPLETED", "WORKFLOW_FAILED", "WORKFLOW_CANCELLED", "WORKFLOW_TERMINATED"}
IDS = {
    "ACTIVITY_SCHEDULED": "activity_id",
    "TIMER_STARTED": "timer_id",
    "SIDE_EFFECT_RECORDED": "side_effect_id",
    "COMPENSATION_REGISTERED": "compensation_id",
}
ANSWERS = {
    "ACTIVITY_COMPLETED": [("activity", "activity_id")],
    "ACTIVITY_FAILED": [("activity", "activity_id")],
    "ACTIVITY_CANCEL_REQUESTED": [("activity", "activity_id")],
    "TIMER_FIRED": [("timer", "timer_id")],
    "TIMER_CANCELLED": [("timer", "timer_id")],
}


@pytest.mark.parametrize("kind", ["gather", "group", "patient gather", "first of"])
def test_signals_are_each_given_out_once(kind: str) -> None:
    program = Branch(kind, tuple(Leaf("signal", 0) for _ in range(4)))
    played = Played(program, [Move("signal", choice) for choice in (0, 2, 4, 0, 2)])
    sent = [s.event for s in played.run.history if isinstance(s.event, SignalReceived)]
    assert not played.run.status.is_open
    assert len(sent) == (1 if kind == "first of" else 4)
