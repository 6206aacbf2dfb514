"""``loom`` as its users have it: what it prints, and how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from loom.cli.exits import Exit
from loom.cli.main import cli
from tests.acceptance.commands import DEADLINE, Shell, wait_until

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def shell(tmp_path: Path, dsn: str) -> Shell:
    return Shell(tmp_path, dsn)


@pytest.fixture
def sqlite_shell(tmp_path: Path, sqlite_dsn: str) -> Shell:
    return Shell(tmp_path, sqlite_dsn)


# --- by itself -----------------------------------------------------------------------------------


def test_help_tells_every_command_and_every_exit_code() -> None:
    output = CliRunner().invoke(cli, ["--help"]).output
    for word in ["cancel", "db", "demo", "init", "list", "show", "signal", "start", "terminate"]:
        assert f"\n  {word}" in output
    for code in ["0", "1", "2", "3", "4", "130"]:
        assert f"\n    {code} " in output


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help(name: str) -> None:
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0
    assert cli.commands[name].help


def test_tells_its_version() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output == "loom, version 0.1.0\n"


def test_help_loads_no_database_driver() -> None:
    code = "import sys; from loom.cli.main import cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()).isdisjoint({"sqlalchemy", "pydantic", "alembic", "rich"})


# --- start, list, show ---------------------------------------------------------------------------


def test_a_run_that_is_waited_for_prints_its_result(shell: Shell) -> None:
    with shell.worker():
        assert json.loads(shell.run("start", "Double", "--input", "21", "--wait").stdout) == 42


def test_a_run_that_failed_is_told_in_one_line(shell: Shell) -> None:
    with shell.worker():
        done = shell.run("start", "Refuse", "--id", "r-1", "--wait", code=1)
    assert done.stderr.splitlines()[-1].startswith("loom: Workflow 'r-1' failed: ")
    assert "no milk today" in done.stderr
    shown = shell.json("show", "r-1")
    assert shown["status"] == "FAILED"
    assert "no milk today" in shown["failure"]["message"]
    assert "ValueError: no milk today" in shell.run("show", "r-1").stdout


def test_a_run_waits_for_its_signal(shell: Shell) -> None:
    with shell.worker():
        started = shell.run("start", "Wait", "--version", "2", "--id", "w-1")
        assert started.stdout == "w-1\n"
        shell.run("signal", "w-1", "go", "--payload", '"now"')
        wait_until(lambda: shell.json("show", "w-1")["status"] == "COMPLETED")
    assert shell.json("show", "w-1")["result"] == "now"
    assert '"now"' in shell.run("show", "w-1").stdout


def test_input_may_come_from_a_file_or_from_a_pipe(shell: Shell) -> None:
    file = shell.folder / "input.json"
    file.write_text("1")
    with shell.worker():
        from_file = shell.run("start", "Double", "--wait", "--input-file", str(file))
        from_pipe = shell.run("start", "Double", "--wait", "--input-file", "-", input="2")
    assert (from_file.stdout, from_pipe.stdout) == ("2\n", "4\n")


def test_lists_runs_newest_first_as_a_table_or_as_json(shell: Shell) -> None:
    for name in ["first", "second"]:
        shell.run("start", "Double", "--input", "1", "--id", name)
    listed = shell.json("list")
    assert [run["workflow_id"] for run in listed] == ["second", "first"]
    assert {run["status"] for run in listed} == {"RUNNING"}
    heading, *rows = shell.run("list").stdout.splitlines()
    assert heading.split()[:2] == ["ID", "WORKFLOW"]
    assert [row.split()[0] for row in rows] == ["second", "first"]


def test_lists_only_what_is_asked_for(shell: Shell) -> None:
    shell.run("start", "Double", "--input", "1", "--id", "d")
    shell.run("start", "Wait", "--version", "2", "--id", "w")
    shell.run("terminate", "w")
    assert [run["workflow_id"] for run in shell.json("list", "--name", "Double")] == ["d"]
    assert [run["workflow_id"] for run in shell.json("list", "--status", "terminated")] == ["w"]
    assert len(shell.json("list", "--limit", "1")) == 1
    assert shell.run("list", "--name", "Nothing").stdout == "There are no such runs.\n"


def test_the_fields_of_the_json_are_those_that_programs_rely_on(shell: Shell) -> None:
    shell.run("start", "Double", "--input", "1", "--id", "d")
    fields = {
        "workflow_id",
        "run_id",
        "name",
        "version",
        "queue",
        "status",
        "created_at",
        "updated_at",
        "closed_at",
        "wake_at",
        "history_length",
        "blocked_reason",
        "worker",
    }
    assert set(shell.json("list")[0]) == fields
    assert set(shell.json("show", "d")) == fields | {"activities", "result", "failure"}


def test_shows_history_and_logs(shell: Shell) -> None:
    with shell.worker():
        shell.run("start", "Double", "--input", "4", "--id", "d", "--wait")
    text = shell.run("show", "d", "--history", "--logs").stdout
    assert "ACTIVITY_COMPLETED" in text
    assert "doubling 4" in text
    shown = shell.json("show", "d", "--history", "--logs")
    assert [event["sequence"] for event in shown["history"]] == [1, 2, 3, 4]
    assert set(shown["history"][0]) == {
        "sequence",
        "recorded_at",
        "type",
        "attributes",
        "value",
        "has_value",
    }
    assert [line["message"] for line in shown["logs"]] == ["doubling 4"]
    assert set(shown["logs"][0]) == {"position", "logged_at", "level", "message"}


def test_shows_what_a_run_waits_for(shell: Shell) -> None:
    with shell.worker("shop:Double"):
        shell.run("start", "Double", "--input", "4", "--id", "d")
        wait_until(lambda: shell.json("show", "d")["activities"] != [])
    (pending,) = shell.json("show", "d")["activities"]
    assert (pending["name"], pending["attempt"], pending["worker"]) == ("double", 0, None)
    assert "Waiting for activities" in shell.run("show", "d").stdout


# --- cancel, terminate ---------------------------------------------------------------------------


def test_a_cancelled_run_is_cancelled_by_its_code(shell: Shell) -> None:
    with shell.worker():
        shell.run("start", "Wait", "--version", "2", "--id", "w")
        shell.run("cancel", "w", "--reason", "changed my mind")
        wait_until(lambda: shell.json("show", "w")["status"] == "CANCELLED")
    assert "changed my mind" in shell.run("show", "w").stdout


def test_a_terminated_run_needs_no_worker_to_end(shell: Shell) -> None:
    shell.run("start", "Wait", "--version", "2", "--id", "w")
    shell.run("terminate", "w", "--reason", "enough")
    assert shell.json("show", "w")["status"] == "TERMINATED"
    assert "enough" in shell.run("show", "w").stdout


def test_a_run_that_has_ended_takes_nothing_more(shell: Shell) -> None:
    shell.run("start", "Wait", "--version", "2", "--id", "w")
    shell.run("terminate", "w")
    for command in (["signal", "w", "go"], ["cancel", "w"], ["terminate", "w"]):
        assert shell.run(*command, code=1).stderr.startswith("loom: Workflow 'w' has ended")


# --- what can go wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "signal", "cancel", "terminate"])
def test_an_unknown_workflow_is_not_found(shell: Shell, command: str) -> None:
    more = ["go"] if command == "signal" else []
    assert "no-such-id" in shell.run(command, "no-such-id", *more, code=3).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["start", "Double", "--input", "{"],
        ["start", "Double", "--input", "1", "--input-file", "-"],
        ["start", "Double", "--input-file", "-"],
        ["start"],
        ["signal", "id", "go", "--payload", "text"],
        ["list", "--status", "sleeping"],
        ["list", "--limit", "0"],
        ["list", "--dsn", "oracle://host/name"],
        ["list", "--dsn", "workflows.db"],
        ["worker"],
        ["nonsense"],
    ],
)
def test_bad_input_is_bad_usage(sqlite_shell: Shell, arguments: list[str]) -> None:
    done = sqlite_shell.run(*arguments, code=2)
    assert done.stdout == ""
    assert done.stderr


def test_an_input_file_that_is_no_text_is_bad_input(sqlite_shell: Shell) -> None:
    file = sqlite_shell.folder / "input.json"
    file.write_bytes(b'"caf\xe9"')
    assert (
        "not JSON" in sqlite_shell.run("start", "Double", "--input-file", str(file), code=2).stderr
    )


def test_a_module_that_cannot_be_imported_is_told_with_its_place(sqlite_shell: Shell) -> None:
    (sqlite_shell.folder / "broken.py").write_text("import json\nimport not_installed\n")
    error = sqlite_shell.run_apart("worker", "broken", code=2)
    assert "No module named 'not_installed'" in error
    assert "broken.py, line 2" in error


@pytest.mark.parametrize("target", ["no_such_module", "shop:nothing", "shop:NUMBER", "json"])
def test_a_worker_refuses_what_it_cannot_serve(sqlite_shell: Shell, target: str) -> None:
    assert target.partition(":")[0] in sqlite_shell.run_apart("worker", target, code=2)


def test_an_unreachable_database_is_told_in_one_line(tmp_path: Path) -> None:
    error = Shell(tmp_path, NOWHERE).run_apart("list", code=4)
    assert error.startswith("loom: ")
    assert len(error.splitlines()) == 1


@pytest.mark.postgres
def test_a_database_without_schema_names_the_command_that_makes_it(
    tmp_path: Path, postgres_dsn: str
) -> None:
    assert "loom db upgrade" in Shell(tmp_path, postgres_dsn).run("list", code=4).stderr


def test_settings_that_are_not_understood_are_bad_input(
    sqlite_shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOM_LEASE_SECONDS", "soon")
    assert "lease_seconds" in sqlite_shell.run("list", code=2).stderr.lower()


def test_a_reader_that_has_seen_enough_is_no_error(sqlite_shell: Shell) -> None:
    for number in range(3):
        sqlite_shell.run("start", "Double", "--input", "1", "--id", f"d-{number}")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        sqlite_shell.command("list", "--json"),
        cwd=sqlite_shell.folder,
        env=sqlite_shell.environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupted_wait_says_so(sqlite_shell: Shell) -> None:
    waiting = sqlite_shell.start("start", "Double", "--input", "1", "--id", "d", "--wait")
    assert waiting.stderr is not None
    assert "Waiting for d" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    _, error = waiting.communicate(timeout=DEADLINE)
    assert (waiting.returncode, error) == (130, "loom: interrupted.\n")


# --- worker --------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [["shop:BOTH"], ["shop:Double", "shop:double"]])
def test_a_worker_serves_what_it_is_pointed_at(sqlite_shell: Shell, targets: list[str]) -> None:
    with sqlite_shell.worker(*targets):
        done = sqlite_shell.run("start", "Double", "--input", "1", "--wait")
    assert json.loads(done.stdout) == 2


def test_a_worker_serves_its_own_queue_alone(sqlite_shell: Shell) -> None:
    with sqlite_shell.worker("shop", "--queue", "fast", "--concurrency", "2"):
        sqlite_shell.run("start", "Double", "--input", "1", "--id", "slow")
        sqlite_shell.run("start", "Double", "--input", "1", "--queue", "fast", "--wait")
    assert sqlite_shell.json("show", "slow")["status"] == "RUNNING"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_worker_within_a_second(shell: Shell, number: signal.Signals) -> None:
    with shell.worker() as worker:
        shell.run("start", "Wait", "--version", "2", "--id", "w")
        wait_until(lambda: shell.json("show", "w")["history_length"] > 0)
        asked_at = time.monotonic()
        worker.send_signal(number)
        _, error = worker.communicate(timeout=DEADLINE)
    assert time.monotonic() - asked_at < 1.5
    assert worker.returncode == 0
    assert error.endswith("Stopped.\n")


def _interrupted(worker: subprocess.Popen[str]) -> bool:
    worker.send_signal(signal.SIGINT)
    return worker.poll() == Exit.INTERRUPTED


def test_a_second_signal_ends_a_worker_that_is_stuck(sqlite_shell: Shell) -> None:
    with sqlite_shell.worker() as worker:
        sqlite_shell.run("start", "Freeze")
        assert worker.stdout is not None
        assert worker.stdout.readline() == "frozen\n"
        # Python itself misses a signal that comes in the instant before a long call begins.
        wait_until(lambda: _interrupted(worker))


# --- db ------------------------------------------------------------------------------------------


def test_the_schema_goes_up_and_down_and_up(tmp_path: Path, empty_dsn: str) -> None:
    shell = Shell(tmp_path, empty_dsn)
    assert shell.run("db", "current").stdout == "none\n"
    assert "loom db upgrade" in shell.run("db", "check", code=1).stderr
    assert "(the newest)" in shell.run("db", "upgrade").stdout
    assert "up to date" in shell.run("db", "check").stdout
    assert shell.run("db", "downgrade", "base").stdout == "There is no schema now.\n"
    assert shell.run("db", "current").stdout == "none\n"
    shell.run("db", "upgrade")
    assert shell.run("list").stdout == "There are no runs yet.\n"


def test_an_unknown_revision_is_refused(sqlite_shell: Shell) -> None:
    assert (
        "no-such-revision" in sqlite_shell.run("db", "upgrade", "no-such-revision", code=2).stderr
    )


# --- init ----------------------------------------------------------------------------------------


def test_init_writes_a_project_that_runs(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["init", str(tmp_path / "new" / "project")])
    assert done.exit_code == 0
    assert "python greetings.py Ada" in done.output
    ran = subprocess.run(
        [sys.executable, "greetings.py", "Ada"],
        cwd=tmp_path / "new" / "project",
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    assert ran.stdout.splitlines() == ["Greeting Ada ...", "Hello, Ada! And goodbye."]


def test_init_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "greetings.py").write_text("mine")
    done = CliRunner().invoke(cli, ["init", str(tmp_path)])
    assert done.exit_code == 1
    assert done.stderr.startswith("loom: ")
    assert (tmp_path / "greetings.py").read_text() == "mine"
