"""``loom demo``: a real worker, really killed."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from examples.ingest import ledger
from examples.ingest.audit import Audit
from loom.cli.demo.story import Story
from loom.cli.main import cli

pytestmark = pytest.mark.timeout(120)

BAD = 5
FILES = 300


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files enough to be in the middle of them for a while, and some that are bad."""
    folder = tmp_path / "folder"
    folder.mkdir()
    code = "".join(f"def function_{number}(): ...\n" for number in range(100))
    for number in range(FILES):
        (folder / f"{number}.py").write_text("def (" if number < BAD else code)
    return folder


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo puts its own things."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    return scratch


def demo(*arguments: str | Path) -> Result:
    # Early: when it is late, a worker that this process did not watch in time would be through.
    return CliRunner().invoke(cli, ["demo", *map(str, arguments), "--kill-after", "0.03"])


def count(output: str, name: str) -> int:
    found = re.search(rf"^  {name} +([\d,]+)", output, re.MULTILINE)
    assert found, output
    return int(found[1].replace(",", ""))


def test_nothing_is_lost_or_repeated_when_the_worker_is_killed(
    folder: Path, scratch: Path, dsn: str
) -> None:
    done = demo(folder, "--dsn", dsn, "--keep")
    assert done.exit_code == 0, done.output
    counts = {
        name: count(done.output, name)
        for name in ("listed", "indexed", "failed", "lost", "repeated")
    }
    assert counts == {
        "listed": FILES,
        "indexed": FILES - BAD,
        "failed": BAD,
        "lost": 0,
        "repeated": 0,
    }
    (directory,) = scratch.iterdir()
    executions = ledger.read(directory / "ledger.jsonl")
    assert len({execution.process for execution in executions}) == 2
    assert re.search(r"took over, \d+\.\d s after the kill", done.output)
    unfinished = [execution for execution in executions if execution.ended_at is None]
    assert len(unfinished) <= count(done.output, "done over")


def test_uses_a_temporary_directory_of_its_own_and_removes_it(
    folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOM_DSN", "postgresql://nobody@127.0.0.1:1/production")
    done = demo(folder)
    assert done.exit_code == 0, done.output
    assert list(scratch.iterdir()) == []


@pytest.mark.postgres
@pytest.mark.usefixtures("scratch")
def test_makes_the_schema_of_a_postgres_that_has_none_and_says_so(
    folder: Path, postgres_dsn: str
) -> None:
    done = demo(folder, "--dsn", postgres_dsn)
    assert done.exit_code == 0, done.output
    assert "The database has no schema yet" in done.output


def test_wrong_counts_fail_and_keep_everything(
    folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose_a_file(self: Story) -> Audit:
        names = frozenset(f"{number}.py" for number in range(FILES))
        return Audit(names, names - {"1.py"}, {}, frozenset({"1.py"}), (), ())

    monkeypatch.setattr(Story, "play", lose_a_file)
    done = demo(folder)
    assert done.exit_code == 1
    assert "loom: the counts are wrong. lost: 1.py" in done.stderr
    (directory,) = scratch.iterdir()
    assert str(directory) in done.stderr


@pytest.mark.usefixtures("scratch")
def test_a_worker_that_ends_by_itself_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    done = demo(folder)
    assert done.exit_code == 1
    assert "ended by itself with exit code 1" in done.stderr


def test_a_folder_without_text_is_bad_input(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.exit_code == 2
    assert "no text files" in done.stderr
