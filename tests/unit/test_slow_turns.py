"""Workflow code that keeps its worker's event loop is reported while it does, and left alone."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from loom.runner import slow_turns
from loom.runner.slow_turns import SlowTurnWatch
from tests.engine_harness import SimulatedRun, new_instance
from tests.unit.workflows import Ctx, add, workflow_of

LIMIT = 40_000
DEADLINE = 20.0


class Reports(logging.Handler):
    """What has been reported so far, readable while the code that it is about goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def reports() -> Iterator[list[logging.LogRecord]]:
    handler = Reports()
    logger = logging.getLogger("loom.worker")
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the watch found each time that it asked whether the turn is being debugged."""
    found: list[bool] = []
    is_debugged = slow_turns.is_debugged

    def look(thread: int) -> bool:
        found.append(is_debugged(thread))
        return found[-1]

    monkeypatch.setattr(slow_turns, "is_debugged", look)
    return found


@contextmanager
def watching(limit: int = LIMIT) -> Iterator[SlowTurnWatch]:
    watch = SlowTurnWatch(limit)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
    assert "loom-slow-turns" not in {thread.name for thread in threading.enumerate()}


def spin(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not until():
        assert time.monotonic() < deadline, "the awaited condition never held"


def take_turn(watch: SlowTurnWatch, code: Callable[[Ctx], Any]) -> None:
    run = SimulatedRun(workflow_of(code), guards="off")
    with watch.turn(run.instance):
        run.start()
    assert run.result is None


def test_a_turn_that_does_not_end_is_reported_with_its_stack(
    reports: list[logging.LogRecord],
) -> None:
    async def code(ctx: Ctx) -> None:
        spin(lambda: reports)

    with watching() as watch:
        take_turn(watch, code)
    (record,) = reports
    text = record.getMessage()
    assert text.startswith("workflow the-workflow (run the-run) has kept its worker's event loop ")
    assert "belong in an activity" in text
    assert f'File "{__file__}", line {code.__code__.co_firstlineno + 1}, in code' in text
    assert "spin(lambda: reports)" in text
    assert "run_until_quiescent" not in text
    assert record.levelname == "WARNING"
    assert record.__dict__["workflow_id"] == "the-workflow"


def test_a_turn_is_reported_once_and_the_next_one_again(
    reports: list[logging.LogRecord], looks: list[bool]
) -> None:
    async def code(ctx: Ctx) -> None:
        spin(lambda: len(reports) == turn)
        seen = len(looks)
        spin(lambda: len(looks) >= seen + 8)

    with watching() as watch:
        for turn in (1, 2):  # noqa: B007  # the code reads it
            take_turn(watch, code)
    assert len(reports) == 2


def test_a_turn_that_is_debugged_is_left_alone(
    reports: list[logging.LogRecord], looks: list[bool]
) -> None:
    async def code(ctx: Ctx) -> None:
        sys._getframe().f_trace = lambda *arguments: None  # what a debugger leaves behind
        spin(lambda: len(looks) >= 12)
        sys._getframe().f_trace = None

    with watching() as watch:
        take_turn(watch, code)
    assert len(looks) >= 12
    assert reports == []


def test_a_long_replay_that_gets_on_is_no_slow_turn(reports: list[logging.LogRecord]) -> None:
    pause = 0.0

    async def code(ctx: Ctx) -> None:
        for number in range(30):
            time.sleep(pause)
            await ctx.activity(add, number)

    run = SimulatedRun(workflow_of(code), guards="off").start().run(add)
    again = new_instance(run.workflow, guards="off")
    # Every step takes far less than the limit, all of them together take more.
    pause = LIMIT / 1_000_000 / 2
    with watching(10 * LIMIT) as watch, watch.turn(again):
        again.replay_until_block(enumerate(run.history, start=1))
    assert again.status == run.status
    assert reports == []


def test_a_replay_that_is_stuck_is_reported(reports: list[logging.LogRecord]) -> None:
    blocks = False

    async def code(ctx: Ctx) -> None:
        await ctx.activity(add, 1)
        if blocks:
            spin(lambda: reports)

    run = SimulatedRun(workflow_of(code), guards="off").start().run(add)
    again = new_instance(run.workflow, guards="off")
    blocks = True
    with watching() as watch, watch.turn(again):
        again.replay_until_block(enumerate(run.history, start=1))
    assert len(reports) == 1


def test_a_limit_of_zero_watches_nothing() -> None:
    with watching(0):
        assert "loom-slow-turns" not in {thread.name for thread in threading.enumerate()}
