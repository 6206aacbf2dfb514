"""The ingest example as a whole, on every store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import loom
from examples.ingest import activities, index
from examples.ingest.audit import audit
from examples.ingest.job import Job
from examples.ingest.workflow import Ingest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "good.py").write_text("class A:\n    def b(self): ...\n")
    (folder / "bad.py").write_text("def (\n")
    (folder / "deep" / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "deep" / "er" / "notes.md").write_text("one two three\n")
    return folder


async def test_a_bad_file_is_recorded_and_stops_nothing(
    folder: Path, tmp_path: Path, any_dsn: str
) -> None:
    job = Job(folder, tmp_path, parallel=2, page=3)
    async with (
        loom.Loom(any_dsn) as app,
        app.worker(workflows=[Ingest], activities=activities.ALL),
    ):
        handle = await app.start(Ingest, job)
        summary = await handle.result()
        info, history = await handle.info(), await handle.history()
    assert summary == index.Summary(indexed=2, failed=2, lines=3, words=8, definitions=2)
    failures = index.failures(job.index)
    assert {name: reason.partition(":")[0] for name, reason in failures.items()} == {
        "bad.py": "SyntaxError",
        "deep/latin.txt": "UnicodeDecodeError",
    }
    found = audit(job, info.run_id, history)
    assert found.holds
    assert found.listed == {"bad.py", "deep/er/notes.md", "deep/latin.txt", "good.py"}
    assert found.unrecorded == ()


async def test_a_folder_that_is_not_there_fails_the_run(tmp_path: Path) -> None:
    async with (
        loom.Loom("memory://") as app,
        app.worker(workflows=[Ingest], activities=activities.ALL),
    ):
        handle = await app.start(Ingest, Job(tmp_path / "missing", tmp_path))
        with pytest.raises(loom.WorkflowFailedError, match="unhandled"):
            await handle.result()


def test_refuses_a_folder_that_is_not_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.ingest", "missing"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, "there is no folder missing" in done.stderr) == (2, True)


def test_runs_as_a_module_and_can_be_run_again(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.ingest", str(folder), "--output", str(tmp_path)]
    for _ in range(2):
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        )
        assert "2 files indexed, 2 failed" in done.stdout
        assert "failed: bad.py: SyntaxError: " in done.stdout
