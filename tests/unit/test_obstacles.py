"""What keeps a run up, as the command line tells it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import loom
from loom.cli.obstacles import missing_worker, obstacle

LONG_AGO = datetime.now(UTC) - timedelta(minutes=3, seconds=30)
JUST_NOW = datetime.now(UTC) + timedelta(hours=1)

RUN = loom.WorkflowInfo(
    workflow_id="order-1",
    run_id="run-1",
    name="Order",
    version="2",
    queue="slow",
    status=loom.RunStatus.RUNNING,
    created_at=LONG_AGO,
    updated_at=LONG_AGO,
    closed_at=None,
    wake_at=None,
    history_length=5,
    blocked_reason=None,
    worker=None,
    activities=[],
)
ACTIVITY = loom.PendingActivity(1, "charge", "cards", 0, 0, LONG_AGO, None, None, LONG_AGO)


def test_a_run_that_waits_for_nothing_but_itself_has_no_obstacle() -> None:
    assert obstacle(RUN) is None
    assert missing_worker(RUN) is None


def test_a_run_that_no_worker_serves_says_what_it_needs() -> None:
    told = str(obstacle(replace(RUN, waiting_for_worker_since=LONG_AGO)))
    assert re.match(r"no worker has taken it for \d+ min", told)
    assert told.endswith(": it needs a worker of the queue 'slow' with Order, version 2")


def test_a_run_that_has_just_become_due_has_no_obstacle_yet() -> None:
    assert obstacle(replace(RUN, waiting_for_worker_since=JUST_NOW)) is None


def test_a_run_that_has_not_begun_says_at_once_what_it_needs() -> None:
    just_started = replace(RUN, waiting_for_worker_since=JUST_NOW, history_length=0)
    assert "with Order, version 2" in str(obstacle(just_started))


def test_an_activity_that_no_worker_takes_is_told() -> None:
    told = str(obstacle(replace(RUN, activities=[ACTIVITY])))
    assert re.match(r"no worker has taken the activity charge for \d+ min", told)
    assert told.endswith(": it needs a worker of the queue 'cards' that has it and is not busy")
    at_work = replace(ACTIVITY, worker="somebody", waiting_for_worker_since=None)
    assert obstacle(replace(RUN, activities=[at_work])) is None


def test_the_same_obstacle_is_equal_however_long_it_lasts() -> None:
    waiting = replace(RUN, waiting_for_worker_since=LONG_AGO)
    assert obstacle(waiting) == obstacle(replace(waiting, updated_at=datetime.now(UTC)))
