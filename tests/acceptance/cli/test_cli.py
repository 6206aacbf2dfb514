"""``loom`` by itself: help, schema, a first project."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from loom.cli.main import cli
from loom.storage.sql.schema import SCHEMA_VERSION, VERSION_TABLE
from tests.acceptance.cli.shell import DEADLINE, Shell

# --- by itself -----------------------------------------------------------------------------------


def test_help_tells_every_command_and_every_exit_code() -> None:
    output = CliRunner().invoke(cli, ["--help"]).output
    for word in [
        "cancel",
        "check",
        "db",
        "demo",
        "init",
        "list",
        "retry",
        "show",
        "signal",
        "start",
        "terminate",
    ]:
        assert f"\n  {word}" in output
    for code in ["0", "1", "2", "3", "4", "130"]:
        assert f"\n    {code} " in output


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help(name: str) -> None:
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0
    assert cli.commands[name].help


def test_tells_its_version() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output == "loom, version 0.2.0\n"


def test_help_loads_no_database_driver() -> None:
    code = "import sys; from loom.cli.main import cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()).isdisjoint({"sqlalchemy", "pydantic", "alembic", "rich"})


# --- db ------------------------------------------------------------------------------------------


def test_the_schema_goes_up_and_down_and_up(tmp_path: Path, empty_dsn: str) -> None:
    shell = Shell(tmp_path, empty_dsn)
    assert shell.run("db", "current").stdout == "none\n"
    assert "loom db upgrade" in shell.run("db", "check", code=1).stderr
    assert "(the newest)" in shell.run("db", "upgrade").stdout
    assert "up to date" in shell.run("db", "check").stdout
    shell.run("start", "Double", "--input", "1")
    refused = shell.run("db", "downgrade", "base", code=1).stderr
    assert "holds 1 run: going back to base deletes it" in refused
    assert "loses what only newer" in shell.run("db", "downgrade", "0001", code=1).stderr
    unknown = shell.run("db", "downgrade", "0003", code=2).stderr
    assert "can be taken back to 0001 or base" in unknown
    assert "--yes" in refused
    assert "(the newest)" in shell.run("db", "upgrade").stdout
    assert shell.run("list", "--count").stdout == "1\n"
    down = shell.run("db", "downgrade", "base", "--yes").stdout
    assert down == "There is no schema now.\n"
    assert shell.run("db", "downgrade", "base").stdout == down
    assert shell.run("db", "current").stdout == "none\n"
    shell.run("db", "upgrade")
    assert shell.run("list").stdout.startswith("There are no runs yet in ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "--count"],
        ["show", "d"],
        ["signal", "d", "go"],
        ["update", "d", "go"],
        ["cancel", "d"],
        ["terminate", "d"],
        ["retry", "d"],
        ["history", "export", "d"],
        ["history", "export", "--all"],
    ],
)
def test_a_file_that_is_not_there_is_told_and_not_made(
    sqlite_shell: Shell, arguments: list[str]
) -> None:
    error = sqlite_shell.run(*arguments, code=4).stderr
    assert f"there is no Loom database {sqlite_shell.dsn}" in error
    assert [path.name for path in sqlite_shell.folder.iterdir()] == ["shop.py"]


def test_an_empty_dsn_is_no_default(sqlite_shell: Shell) -> None:
    for command in (["list"], ["start", "Double"], ["db", "upgrade"], ["db", "check"]):
        assert "sqlite:///" in sqlite_shell.run(*command, "--dsn", "", code=2).stderr


def test_a_check_of_the_schema_tells_by_its_exit_code(tmp_path: Path, empty_dsn: str) -> None:
    shell = Shell(tmp_path, empty_dsn)
    assert "no Loom schema yet" in shell.run("db", "check", code=1).stderr
    shell.run("db", "upgrade")
    shell.run("db", "check", code=0)
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    shell.run("db", "check", "--dsn", nowhere, code=4)


def test_a_newer_schema_that_this_loom_can_work_with_is_told(sqlite_shell: Shell) -> None:
    sqlite_shell.run("db", "upgrade")
    newer = f"9999_from_{SCHEMA_VERSION[:4]}"
    with closing(sqlite3.connect(sqlite_shell.dsn.removeprefix("sqlite:///"))) as file, file:
        file.execute(f"UPDATE {VERSION_TABLE} SET version_num = '{newer}'")
    for command in ("check", "upgrade"):
        told = sqlite_shell.run("db", command).stdout
        assert newer in told
        assert "newer than this Loom, which can work with it" in told
    back = sqlite_shell.run("db", "downgrade", "0001", code=4).stderr
    assert "only the newer Loom that made it knows the way back" in back
    assert "this Loom can work with it as it is" in back
    assert sqlite_shell.run("list").stdout.startswith("There are no runs yet in ")


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
