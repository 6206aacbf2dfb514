"""Histories that were recorded once replay for ever, with every later Loom and Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loom.authoring.compiled import compiled_workflow
from loom.history.codec import EVENT_TYPES
from loom.history.events import FINAL_STATUS, ArrivalEvent, PassingEvent, WorkflowStarted
from loom.history.status import RunStatus
from tests.engine_harness import new_instance, replayed
from tests.golden_histories import files
from tests.golden_histories.record import RECIPES
from tests.golden_histories.workflows import WORKFLOWS

PATHS = sorted(files.FOLDER.glob("*.json"))
BY_NAME = {compiled_workflow(cls).name: cls for cls in WORKFLOWS}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_recorded_history_replays(path: Path) -> None:
    history = files.read(path)
    started, last = history[0].event, history[-1].event
    assert isinstance(started, WorkflowStarted)
    instance = replayed(BY_NAME[started.name], history)
    assert instance.status is FINAL_STATUS.get(type(last), RunStatus.RUNNING)
    instance.unwind()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_same_arrivals_lead_to_the_same_commands_to_the_last_byte(path: Path) -> None:
    """Replay forgives another duration or argument; without a reason there shall be none."""
    history = files.read(path)
    started = history[0].event
    assert isinstance(started, WorkflowStarted)
    instance = new_instance(BY_NAME[started.name])
    arrivals = [stamped for stamped in history if isinstance(stamped.event, ArrivalEvent)]
    again = [stamped for arrival in arrivals for stamped in instance.activate([arrival]).events]
    instance.unwind()
    assert files.text(again) == files.text(history)


def test_every_recipe_was_recorded() -> None:
    assert {path.stem for path in PATHS} == set(RECIPES)


def test_every_type_of_event_is_in_some_history() -> None:
    seen = {stamped.event.type for path in PATHS for stamped in files.read(path)}
    passing = {name for name, cls in EVENT_TYPES.items() if issubclass(cls, PassingEvent)}
    assert seen == set(EVENT_TYPES) - passing


def test_a_file_is_read_as_it_was_written() -> None:
    for path in PATHS:
        recorded = json.loads(path.read_text())
        again = json.loads(files.text(files.read(path)))
        for row, written in zip(recorded, again, strict=True):
            # What has grown since has the same attributes: the new ones are at their defaults.
            assert row.pop("schema_version") <= written.pop("schema_version")
            assert written == row
