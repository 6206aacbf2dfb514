"""Runs keep the behaviour of the engine that they were started with."""

from __future__ import annotations

from typing import Any

import pytest

from loom.engine.flags import NEW_RUN_FLAGS, Flag, known_flags
from loom.errors import HistoryError
from loom.history.codec import decode_event
from loom.history.events import WorkflowStarted
from tests.engine_harness import Play, SimulatedRun
from tests.unit.workflows import Ctx, clean, workflow_of


async def taking_what_is_there(ctx: Ctx) -> list[Any]:
    await ctx.activity(clean)
    taken = [await ctx.wait_for_signal("go", timeout=60)]
    return [*taken, await ctx.wait_for_signal("go", timeout=60)]


def test_a_run_records_the_flags_that_it_was_started_with(play: Play) -> None:
    [started] = [
        e for e in play(workflow_of(taking_what_is_there)).events if isinstance(e, WorkflowStarted)
    ]
    assert started.flags == NEW_RUN_FLAGS == tuple(sorted(NEW_RUN_FLAGS))


def test_a_signal_that_is_there_starts_no_timer(play: Play) -> None:
    run = play(workflow_of(taking_what_is_there))
    run.signal("go", 1)
    run.complete("clean")
    run.signal("go", 2)
    assert run.result == [1, 2]
    assert run.types.count("TIMER_STARTED") == 1


def test_a_run_from_before_starts_one_as_it_did_then() -> None:
    run = SimulatedRun(workflow_of(taking_what_is_there), flags=()).start()
    run.signal("go", 1)
    run.complete("clean")
    run.signal("go", 2)
    assert run.result == [1, 2]
    assert run.types.count("TIMER_STARTED") == 2
    run.check_replay()
    run.close()


def test_a_flag_of_a_newer_loom_asks_for_it() -> None:
    run = SimulatedRun(workflow_of(taking_what_is_there), flags=("of-tomorrow",))
    with pytest.raises(HistoryError, match=r"'of-tomorrow'.*Upgrade Loom"):
        run.start()
    run.close()


def test_known_flags_are_read_whatever_their_order() -> None:
    assert known_flags(reversed(NEW_RUN_FLAGS)) == frozenset(Flag)
    assert known_flags([]) == frozenset()


def test_the_names_of_flags_never_change() -> None:
    assert NEW_RUN_FLAGS == ("signal-before-timer", "unfit-signals-dropped")


def test_a_started_event_of_the_first_schema_has_no_flags() -> None:
    fields = b'{"name": "Order", "version": "1"}'
    event = decode_event("WORKFLOW_STARTED", 1, fields, b'["NoneType",null]')
    assert isinstance(event, WorkflowStarted)
    assert event.flags == ()
