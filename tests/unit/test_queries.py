"""Queries: answered from what the code has made, and unable to change any of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import loom
from loom.errors import PayloadError, QueryError, QueryFailedError, ReadOnlyError
from tests.engine_harness import Play, SimulatedRun, new_instance
from tests.unit.workflows import Ctx, add, clean

TASKS: list[asyncio.Task[Any]] = []


class Counter(loom.Workflow[Any, dict[str, Any]]):
    def __init__(self) -> None:
        self.counts: list[int] = [0]
        self.more = asyncio.Event()

    async def run(self, ctx: Ctx) -> Any:
        for number in (1, 2):
            await ctx.activity(add, number)
            self.counts.append(number)
            await ctx.state.set("last", number)
        return self.counts

    @loom.query
    def total(self, factor: int = 1) -> int:
        return sum(self.counts) * factor

    @loom.query
    def last(self) -> Any:
        return self.ctx.state.get("last")

    @loom.query
    def all(self) -> list[int]:
        return self.counts

    @loom.query(dynamic=True)
    def other(self, name: str, payload: Any) -> Any:
        return [name, payload]


def counter(**members: Any) -> type:
    return loom.workflow(type("Changed", (Counter,), members))


def replayed_for_reading(run: SimulatedRun) -> Any:
    instance = new_instance(run.workflow)
    instance.replay_until_block(enumerate(run.history, start=1), for_reading=True)
    return instance


def asked(run: SimulatedRun, name: str, payload: Any = None) -> Any:
    """The same answer from the live run, if it is open, and from its history."""
    answers = []
    again = replayed_for_reading(run)
    for instance in [run.instance, again] if run.instance.is_open else [again]:
        answer = instance.answer_query(name, run.converter.encode(payload))
        if answer is not None:
            answers.append(answer)
    again.unwind()
    assert len(set(answers)) == 1
    return run.converter.decode(answers[0], Any)


def test_a_query_sees_where_the_run_stands(play: Play) -> None:
    run = play(counter())
    assert (asked(run, "total"), asked(run, "last")) == (0, None)
    run.complete("add", 1)
    assert (asked(run, "total", 10), asked(run, "last")) == (10, 1)
    run.complete("add", 2)
    assert run.result == [0, 1, 2]
    assert (asked(run, "total"), asked(run, "last")) == (3, 2)


def test_every_other_query_goes_to_the_dynamic_handler(play: Play) -> None:
    assert asked(play(counter()), "what", {"is": "this"}) == ["what", {"is": "this"}]


def test_a_query_that_nobody_answers_is_refused_with_those_that_there_are(play: Play) -> None:
    run = play(counter(other=None))
    with pytest.raises(QueryError, match=r"no query 'what'; it has: 'total', 'last', 'all'"):
        asked(run, "what")


def test_arguments_that_do_not_fit_are_refused(play: Play) -> None:
    with pytest.raises(PayloadError):
        asked(play(counter()), "total", "many")


def test_a_handler_that_raises_is_told_with_its_error(play: Play) -> None:
    @loom.query
    def fail(self: Any) -> None:
        raise LookupError("not there")

    with pytest.raises(QueryFailedError, match="'fail' failed: LookupError: not there") as caught:
        asked(play(counter(fail=fail)), "fail")
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_result_of_another_type_is_refused(play: Play) -> None:
    @loom.query
    def lie(self: Any) -> int:
        return "many"  # type: ignore[return-value]

    with pytest.raises(QueryFailedError, match="PayloadError"):
        asked(play(counter(lie=lie)), "lie")


def test_what_a_query_does_to_the_object_is_lost(play: Play) -> None:
    @loom.query
    def spoil(self: Any) -> int:
        self.counts.append(100)
        self.counts = [*self.counts, 100]
        self.more.set()
        return sum(self.counts)

    run = play(counter(spoil=spoil))
    assert asked(run, "spoil") == 200
    assert asked(run, "spoil") == 200
    run.complete("add", 1)
    run.complete("add", 2)
    assert run.result == [0, 1, 2]


def drive(coroutine: Any) -> None:
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a change of the state": lambda self: drive(self.ctx.state.set("last", 9)),
    "an activity": lambda self: drive(self.ctx.activity(clean)),
    "a timer": lambda self: drive(self.ctx.sleep(1)),
    "a random number": lambda self: self.ctx.random.random(),
    "a unique id": lambda self: self.ctx.uuid4(),
    "something to be awaited": lambda self: self.ctx.activity(clean),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_query_that_asks_for_a_change_is_refused(
    play: Play, change: Callable[[Any], Any]
) -> None:
    @loom.query
    def meddle(self: Any) -> Any:
        return change(self)

    run = play(counter(meddle=meddle))
    for instance in (run.instance, replayed_for_reading(run)):
        with pytest.raises(QueryFailedError) as caught:
            instance.answer_query("meddle", run.converter.encode(None))
        assert isinstance(caught.value.__cause__, ReadOnlyError)
    run.complete("add", 1)
    run.complete("add", 2)
    assert run.result == [0, 1, 2]
    assert "STATE_SET" in run.types


def test_there_is_no_loop_for_a_query_to_start_tasks_on(play: Play) -> None:
    @loom.query
    def start(self: Any) -> None:
        asyncio.get_running_loop()

    with pytest.raises(QueryFailedError, match="no running event loop"):
        asked(play(counter(start=start)), "start")


def test_what_a_query_logs_is_not_kept(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    @loom.query
    def tell(self: Any) -> None:
        self.ctx.logger.warning("asked")

    async def code(self: Counter, ctx: Ctx) -> None:
        ctx.logger.warning("begun")
        await ctx.activity(add, 1)
        ctx.logger.warning("done")

    run = play(counter(tell=tell, run=code))
    caplog.clear()
    asked(run, "tell")
    assert caplog.messages == ["asked", "asked"]
    run.complete("add", 1)
    assert [(line.position, line.message) for line in run.logs] == [(1, "begun"), (2, "done")]


def test_what_cannot_be_copied_is_asked_in_an_instance_of_its_own(play: Play) -> None:
    """It holds a future that the code waits for: a copy of that means nothing."""

    async def code(self: Counter, ctx: Ctx) -> None:
        self.counts.append(5)
        await self.more.wait()

    @loom.query
    def spoil(self: Any) -> int:
        self.counts.append(1)
        return sum(self.counts)

    run = play(counter(run=code, spoil=spoil))
    assert run.instance.answer_query("spoil", run.converter.encode(None)) is None
    assert asked(run, "spoil") == 6
    assert asked(run, "spoil") == 6


def test_an_event_that_the_code_waits_for_cannot_be_set_by_a_query(play: Play) -> None:
    async def code(self: Counter, ctx: Ctx) -> None:
        await self.more.wait()

    @loom.query
    def go(self: Any) -> None:
        self.more.set()

    run = play(counter(run=code, go=go))
    with pytest.raises(QueryFailedError, match="may only look"):
        asked(run, "go")
    assert run.status.is_open


def test_a_closed_run_is_asked_as_its_code_left_it(play: Play) -> None:
    """Not as it was after its background tasks were unwound."""

    async def code(self: Counter, ctx: Ctx) -> str:
        async def watch() -> None:
            try:
                await ctx.sleep(60)
            except BaseException:
                self.counts.append(100)
                raise

        TASKS.append(asyncio.create_task(watch()))
        await ctx.activity(add, 1)
        return "done"

    run = play(counter(run=code))
    run.complete("add", 1)
    assert run.result == "done"
    assert asked(run, "all") == [0]
    TASKS.clear()


@pytest.mark.parametrize("end", ["cancel", "terminate"])
def test_a_run_that_was_ended_can_be_asked(play: Play, end: str) -> None:
    run = play(counter())
    run.complete("add", 1)
    getattr(run, end)("enough")
    assert not run.status.is_open
    assert asked(run, "total") == 1
