"""``loom history``: what one database gives out, another takes in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import loom
from tests.acceptance.cli.shell import Shell, wait_until


def _waits(shell: Shell, id: str) -> bool:
    shown = shell.json("show", id)
    return bool(shown["history_length"]) and shown["worker"] is None


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """With a closed run ``d``, and an open one ``w``."""
    with shell.worker():
        shell.run("start", "Double", "--input", "4", "--id", "d", "--wait")
        shell.run("start", "Wait", "--version", "2", "--id", "w")
        wait_until(lambda: _waits(shell, "w"))
    return shell


@pytest.fixture
def elsewhere(tmp_path: Path) -> list[str]:
    return ["--dsn", f"sqlite:///{tmp_path / 'elsewhere.db'}"]


def test_a_run_goes_into_a_file_and_into_another_database(
    filled: Shell, elsewhere: list[str], tmp_path: Path
) -> None:
    file = str(tmp_path / "d.json")
    assert filled.run("history", "export", "d", "-o", file).stderr == (
        f"Exported 4 events to {file}.\n"
    )
    assert filled.run("history", "export", "d").stdout == Path(file).read_text()
    assert filled.run("history", "import", file, *elsewhere).stdout == (
        "Imported d (4 events): COMPLETED.\n"
    )
    there, here = (filled.json("show", "d", "--history", *dsn) for dsn in (elsewhere, []))
    assert there["result"] == here["result"] == 8
    assert there["history"] == here["history"]
    again = filled.run("history", "import", file, *elsewhere, code=1).stderr
    assert "is in this database already" in again


def test_an_open_run_is_ended_or_left_open(
    filled: Shell, elsewhere: list[str], tmp_path: Path
) -> None:
    file = str(tmp_path / "w.json")
    filled.run("history", "export", "w", "-o", file)
    ended = filled.run("history", "import", file, "--as", "w-2", *elsewhere).stdout
    assert ended == "Imported w-2 (1 event): it was open, and is TERMINATED here.\n"
    assert filled.json("show", "w-2", *elsewhere)["status"] == "TERMINATED"
    other = ["--dsn", f"sqlite:///{tmp_path / 'other.db'}"]
    left = filled.run("history", "import", file, "--open", *other).stdout
    assert left == "Imported w (1 event): a worker goes on with it.\n"
    assert filled.json("show", "w", *other)["status"] == "RUNNING"


def test_many_runs_go_into_a_folder_or_into_lines(
    filled: Shell, elsewhere: list[str], tmp_path: Path
) -> None:
    folder, lines = tmp_path / "histories", tmp_path / "all.jsonl"
    said = filled.run("history", "export", "--all", "-o", str(folder)).stderr
    assert said == f"Exported 2 runs to {folder}.\n"
    assert sorted(file.name[0] for file in folder.iterdir()) == ["d", "w"]
    filled.run("history", "export", "--all", "-o", str(lines))
    printed = filled.run("history", "export", "--all").stdout
    assert printed == lines.read_text()
    assert [json.loads(line)["workflow_id"] for line in printed.splitlines()] == ["w", "d"]
    (open_one,) = filled.run("history", "export", "--all-open").stdout.splitlines()
    assert json.loads(open_one)["workflow_id"] == "w"
    (named,) = filled.run("history", "export", "--all", "--name", "Double").stdout.splitlines()
    assert json.loads(named)["workflow_id"] == "d"
    assert filled.run("history", "export", "--all", "--status", "failed").stdout == ""
    for source in (folder, lines):
        other = ["--dsn", f"sqlite:///{tmp_path / f'{source.name}.db'}"]
        assert len(filled.run("history", "import", str(source), *other).stdout.splitlines()) == 2
        assert len(filled.json("list", *other)) == 2


def test_a_run_whose_id_no_file_could_have_is_exported(shell: Shell, tmp_path: Path) -> None:
    shell.run("start", "Double", "--input", "1", "--id", "../../a/b: " + "x" * 200)
    shell.run("history", "export", "--all", "-o", str(tmp_path / "out"))
    (file,) = (tmp_path / "out").iterdir()
    assert loom.RunHistory.from_json(file.read_text()).workflow_id.startswith("../../a/b")


def test_an_imported_run_that_no_worker_takes_shows_up_as_such(
    filled: Shell, elsewhere: list[str], tmp_path: Path
) -> None:
    """With a timer that was due long ago."""
    history = loom.RunHistory.from_json(filled.run("history", "export", "w").stdout).to_dict()
    history["events"].append(
        {
            "sequence": 2,
            "type": "TIMER_STARTED",
            "schema_version": 1,
            "recorded_at": "2023-11-14T22:13:20.000000Z",
            "attributes": {"timer_id": 1, "fire_at": 1_700_000_000_000_000},
        }
    )
    file = tmp_path / "due.json"
    file.write_text(json.dumps(history))
    filled.run("history", "import", str(file), "--open", *elsewhere)
    listed = filled.run("list", *elsewhere)
    assert "NO WORKER FOR" in listed.stdout.splitlines()[0]
    assert listed.stdout.splitlines()[1].endswith(" h")
    assert "`loom show ID` tells which worker a run needs." in listed.stderr
    shown = filled.run("show", "w", *elsewhere).stdout
    assert "it needs a worker of the queue 'default' with Wait, version 2" in shown
    assert "NO WORKER FOR" not in filled.run("list").stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Give the ID of a workflow, or else --all or --all-open."),
        (["d", "--all"], "Give the ID of a workflow, or else --all or --all-open."),
        (["d", "--name", "Double"], "--name and --status are for --all and --all-open."),
        (["--all", "-o", "x.json"], "a FILE.jsonl: x.json is neither"),
        (["--all", "--run-id", "1"], "--run-id is for the run with an ID."),
    ],
)
def test_what_cannot_be_exported_together_is_told(
    sqlite_shell: Shell, arguments: list[str], complaint: str
) -> None:
    assert complaint in sqlite_shell.run("history", "export", *arguments, code=2).stderr


def test_bad_files_are_told(sqlite_shell: Shell, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    said = sqlite_shell.run("history", "import", str(bad), code=2).stderr
    assert "bad.json, line 1: This is no exported history" in said
    said = sqlite_shell.run("history", "import", str(tmp_path / "none.json"), code=2).stderr
    assert "No such file" in said


def test_exporting_makes_no_database(sqlite_shell: Shell) -> None:
    said = sqlite_shell.run("history", "export", "d", code=4).stderr
    assert "loom db upgrade" in said
    assert not Path(sqlite_shell.dsn.removeprefix("sqlite:///")).exists()


def test_a_run_that_is_not_there_is_told(filled: Shell) -> None:
    assert "There is no run" in filled.run("history", "export", "x", code=3).stderr
