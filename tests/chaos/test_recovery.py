"""That work which moves too late is a violation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.recovery import LATE, recovery
from tests.chaos.stage import Report, Stage
from tests.chaos.standstill import Standstill

GROUNDS: Any = None


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    report = Report("planted", "sqlite")
    return Stage(GROUNDS, tmp_path, "sqlite:///nowhere", report, seed=0, is_short=False)


async def test_work_that_moves_too_late_is_a_violation(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Standstill, "late", 0.01)
    async with recovery(stage, within=0.05):
        await asyncio.sleep(0.06 + LATE * 0.01)
    assert len(stage.report.violations) == 1
    async with recovery(stage, within=60):
        pass
    assert len(stage.report.violations) == 1
    assert len(stage.report.recoveries) == 2


async def test_a_machine_that_wakes_late_is_given_more_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Standstill, "late", 60.0)
    async with recovery(stage, within=0.01):
        await asyncio.sleep(0.1)
    assert stage.report.violations == []
