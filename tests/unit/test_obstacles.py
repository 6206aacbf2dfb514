"""Who waits for a run is told what keeps it up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loom.history.status import RunStatus
from loom.runner.obstacles import PROMPT, Obstacles
from loom.storage.records import RunRecord

LONG_AGO, NOW = 0, 100 * PROMPT
RUN = RunRecord(
    run_key=1,
    workflow_id="order",
    run_id="1",
    name="Order",
    version="1",
    queue="default",
    status=RunStatus.RUNNING,
    sequence=1,
    created_at=LONG_AGO,
    updated_at=LONG_AGO,
    due_at=LONG_AGO,
)


def test_it_is_told_once_and_not_before_it_was_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    obstacles = Obstacles(NOW)
    obstacles.look(RUN, NOW + PROMPT - 1)
    assert caplog.messages == []
    obstacles.look(RUN, NOW + PROMPT)
    obstacles.look(RUN, NOW + 2 * PROMPT)
    (told,) = caplog.messages
    assert "has not been taken by any worker" in told


def test_what_is_not_due_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    Obstacles(LONG_AGO).look(replace(RUN, due_at=None), NOW)
    Obstacles(LONG_AGO).look(replace(RUN, due_at=NOW), NOW)
    assert caplog.messages == []


def test_a_blocked_run_is_told_of_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    blocked = replace(RUN, status=RunStatus.BLOCKED, blocked_reason="it reads a clock", due_at=None)
    Obstacles(LONG_AGO).look(blocked, NOW)
    (told,) = caplog.messages
    assert told.endswith("is BLOCKED until a worker has code that fits: it reads a clock")
