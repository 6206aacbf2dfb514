"""Every run that a unit test plays is also replayed from its history, without being asked to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from loom.authoring.forbidden import GuardMode
from tests.engine_harness import Play, SimulatedRun


@pytest.fixture
def play() -> Iterator[Play]:
    """Starts runs: ``play(Workflow, input, guards="off")``."""
    runs: list[SimulatedRun] = []

    def start(
        workflow: type, input: Any = None, guards: GuardMode = "error", **attributes: Any
    ) -> SimulatedRun:
        run = SimulatedRun(workflow, guards=guards)
        runs.append(run)
        return run.start(input, **attributes)

    yield start
    for run in runs:
        run.check_replay()
        run.close()
