"""What can go wrong on the command line: one clear line, and an exit code that tells."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from loom.cli.application import without_password
from tests.acceptance.cli.shell import DEADLINE, Shell, wait_until_told

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.mark.parametrize("command", ["show", "signal", "cancel", "terminate"])
def test_an_unknown_workflow_is_not_found(shell: Shell, command: str) -> None:
    more = ["go"] if command == "signal" else []
    error = shell.run(command, "no-such-id", *more, code=3).stderr
    assert "no-such-id" in error
    assert f"The database is {without_password(shell.dsn)}." in error


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("sqlite:///loom.db?busy_timeout=5", "sqlite:///loom.db"),
        ("postgresql://host:5432/name", "postgresql://host:5432/name"),
        ("postgresql://ada@host/name", "postgresql://ada@host/name"),
        ("postgresql://ada:se@c/r:et@host/name", "postgresql://ada@host/name"),
        ("postgresql://ada:s?cret@host/name", "postgresql://ada@host/name"),
        ("postgresql://host/name?password=secret", "postgresql://host/name"),
    ],
)
def test_a_place_is_shown_without_its_password(dsn: str, shown: str) -> None:
    assert without_password(dsn) == shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["start", "Double", "--input", "{"],
        ["start", "Double", "--input", "1", "--input-file", "-"],
        ["start", "Double", "--input-file", "-"],
        ["start"],
        ["start", "Double", "--input", "[" * 20_000],
        ["start", "Double", "--start-at", "9999-12-31T23:59:59-23:59"],
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


def test_a_module_with_bad_syntax_is_told_with_its_place_alone(sqlite_shell: Shell) -> None:
    (sqlite_shell.folder / "broken.py").write_text("def f(:\n")
    error = sqlite_shell.run_apart("worker", "broken", code=2)
    assert "broken.py, line 1" in error
    assert "importlib" not in error


@pytest.mark.parametrize(
    ("path", "module"), [("shop.py", "shop"), ("./shop.py", "shop"), ("jobs/shop", "jobs.shop")]
)
def test_a_path_is_told_from_a_module(sqlite_shell: Shell, path: str, module: str) -> None:
    assert f"name the module as imports do: {module}\n" in sqlite_shell.run_apart(
        "worker", path, code=2
    )


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


def test_an_interrupted_wait_says_so_and_what_goes_on(sqlite_shell: Shell) -> None:
    waiting = sqlite_shell.start("start", "Double", "--input", "1", "--id", "d", "--wait")
    wait_until_told(waiting.stderr, "Waiting for d")
    waiting.send_signal(signal.SIGINT)
    _, error = waiting.communicate(timeout=DEADLINE)
    assert waiting.returncode == 130
    assert error.endswith("d goes on: `loom show d` shows it.\nloom: interrupted.\n")
