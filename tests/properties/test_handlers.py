"""Handlers: with random code, handlers and messages a run is still a function of its arrivals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from loom.authoring.compiled import workflow
from loom.authoring.handlers import query, signal, update
from loom.authoring.workflow import Workflow
from loom.engine.decision import LoggedLine
from loom.engine.instance import WorkflowInstance
from loom.history.events import (
    ArrivalEvent,
    Stamped,
    UpdateAccepted,
    UpdateAnswer,
    UpdateCompleted,
    UpdateFailed,
    UpdateRejected,
    UpdateRequested,
)
from loom.identifiers import MICROS_PER_SECOND
from tests.engine_harness import SimulatedRun, new_instance, replayed
from tests.properties.programs import Ctx, Node, programs, run_node
from tests.properties.test_replay import Move, closing, cut, events_for, state_of

TALK = st.lists(
    st.builds(
        Move,
        st.sampled_from(
            ["complete"] * 5 + ["time"] * 3 + ["poke"] * 3 + ["update"] * 4 + ["fail", "signal"]
            + ["cancel"]
        ),
        st.integers(0, 5),
    ),
    min_size=8,
    max_size=25,
)  # fmt: skip


def talking(program: Node, handlers: Sequence[Node]) -> type[Workflow[Any, Any]]:
    """A workflow whose code is one program, and whose handlers are others."""

    class Talking(Workflow[Any, Any]):
        def __init__(self) -> None:
            self.log: list[Any] = []

        async def run(self, ctx: Ctx) -> Any:
            return [await run_node(ctx, program), self.log]

        @signal
        async def poke(self, number: int) -> None:
            self.log.append(number)
            await run_node(self.ctx, handlers[number % len(handlers)])

        @signal(unfinished="abandon")
        async def watch(self, number: int) -> None:
            await self.ctx.sleep(3)
            self.log.append("watched")

        @update
        async def change(self, number: int) -> Any:
            self.log.append("begun")
            done = await run_node(self.ctx, handlers[number % len(handlers)])
            self.log.append("done")
            return done

        @change.validator
        def check_change(self, number: int) -> None:
            self.log.append("spoilt")
            if number == 5 or self.log.count("begun") > self.log.count("done") + 2:
                raise ValueError("not now")

        @query
        def show(self) -> Any:
            self.log.append("spoilt")
            return self.log

    return workflow(name="Talking")(Talking)


class Conversation:
    """A run that was talked to, one arrival a turn, with all that was sent to it."""

    def __init__(
        self, program: Node, handlers: Sequence[Node], moves: Sequence[Move], *, asked: bool = False
    ) -> None:
        self.run = run = SimulatedRun(talking(program, handlers)).start()
        self.sent: list[Stamped] = [run.history[0]]
        ending = [Move(kind, 0) for kind in ("complete", "time", "signal")] * 8
        for number, move in enumerate([*moves, *ending]):
            run.now += MICROS_PER_SECOND // 4
            for event in self._events(move, number):
                self.sent.append(Stamped(event, run.now))
                run.deliver(event)
                if asked and run.status.is_open:
                    run.instance.answer_query("show", run.converter.encode(None))
        self.state = state_of(run.instance)
        run.close()

    def _events(self, move: Move, number: int) -> Sequence[ArrivalEvent | UpdateRequested]:
        run = self.run
        if move.kind == "poke":
            name = "watch" if move.choice == 0 else "poke"
            return [run.signalled(name, move.choice)]
        if move.kind == "update":
            return [run.requested("change", move.choice, update_id=f"{number}")]
        return events_for(move, run)


def fed(
    instance: WorkflowInstance, turns: Sequence[Sequence[Stamped]]
) -> tuple[list[Stamped], list[LoggedLine], list[UpdateAnswer]]:
    history: list[Stamped] = []
    logs: list[LoggedLine] = []
    answers: list[UpdateAnswer] = []
    for turn in turns:
        decision = instance.activate(turn)
        history += decision.events
        logs += decision.logs
        answers += decision.answers
    return history, logs, answers


SOME = st.lists(programs(), min_size=1, max_size=3)

# Each example holds several programs, and is played more than once.
fewer = settings(max_examples=max(settings().max_examples // 4, 25))


@fewer
@given(programs(), SOME, TALK)
def test_replay_from_every_turn_goes_on_as_the_live_run_did(
    program: Node, handlers: list[Node], moves: list[Move]
) -> None:
    talked = Conversation(program, handlers, moves)
    run = talked.run
    arrivals = [s for s in run.history if isinstance(s.event, ArrivalEvent)]
    # Those that were not let in are in no history.
    accepted = {s.event.update_id for s in arrivals if isinstance(s.event, UpdateAccepted)}
    told = [answer for answer in run.answers if answer.update_id in accepted]
    for end in sorted(set(run.turns)):
        left = arrivals[sum(isinstance(s.event, ArrivalEvent) for s in run.history[:end]) :]
        with closing(replayed(run.workflow, run.history[:end])) as again:
            following, logs, answers = fed(again, [[arrival] for arrival in left])
            assert following == run.history[end:]
            assert logs == run.logs[len(run.logs) - len(logs) :]
            assert answers == told[len(told) - len(answers) :]
            assert state_of(again) == talked.state


@fewer
@given(programs(), SOME, TALK, st.lists(st.integers(0, 60), max_size=6))
def test_it_does_not_matter_how_messages_are_gathered_into_turns(
    program: Node, handlers: list[Node], moves: list[Move], places: list[int]
) -> None:
    talked = Conversation(program, handlers, moves)
    with closing(new_instance(talked.run.workflow)) as again:
        history, logs, answers = fed(again, cut(talked.sent, places))
        assert history == talked.run.history
        assert logs == talked.run.logs
        assert answers == talked.run.answers
        assert state_of(again) == talked.state


@fewer
@given(programs(), SOME, TALK)
def test_queries_change_nothing(program: Node, handlers: list[Node], moves: list[Move]) -> None:
    alone = Conversation(program, handlers, moves)
    asked = Conversation(program, handlers, moves, asked=True)
    assert asked.run.history == alone.run.history
    assert (asked.run.logs, asked.run.answers) == (alone.run.logs, alone.run.answers)
    assert asked.state == alone.state


@fewer
@given(programs(), SOME, TALK)
def test_each_update_is_answered_once_and_what_was_rejected_left_no_trace(
    program: Node, handlers: list[Node], moves: list[Move]
) -> None:
    talked = Conversation(program, handlers, moves)
    run = talked.run
    answered = [answer.update_id for answer in run.answers]
    assert len(answered) == len(set(answered))
    rejected = {a.update_id for a in run.answers if isinstance(a, UpdateRejected)}
    accepted = [e.update_id for e in run.events if isinstance(e, UpdateAccepted)]
    assert rejected.isdisjoint(accepted)
    done = [e.update_id for e in run.events if isinstance(e, UpdateCompleted | UpdateFailed)]
    assert len(done) == len(set(done))
    assert set(done) <= set(accepted)
    assert set(done) <= set(answered)
    if not run.status.is_open:
        assert set(accepted) <= set(answered)
