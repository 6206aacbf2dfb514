"""``loom debug``: stepping through what a run has done, driven through a pipe."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.cli.shell import DEADLINE, Shell, wait_until

CODE = """\
import asyncio

import loom


@loom.activity
async def double(number: int) -> int:
    return number * 2


@loom.workflow
class Twice(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        first = await ctx.activity(double, ctx.input)
        second, third = await asyncio.gather(self.again(ctx, first), self.again(ctx, 100))
        return await ctx.wait_for_signal("go", type=int) + second + third

    async def again(self, ctx: loom.WorkflowContext[int, None], number: int) -> int:
        result: int = await ctx.activity(double, number)
        return result
"""


def line_of(text: str) -> int:
    (number,) = (n for n, line in enumerate(CODE.splitlines(), start=1) if text in line)
    return number


def run_twice(shell: Shell) -> None:
    """An open run ``t`` that has doubled three times and waits for a signal."""
    (shell.folder / "twice.py").write_text(CODE)
    with shell.worker("twice"):
        shell.run("start", "Twice", "--input", "4", "--id", "t")
        wait_until(lambda: _waits(shell))


def _waits(shell: Shell) -> bool:
    shown = shell.json("show", "t")
    return shown["history_length"] == 7 and shown["worker"] is None


def debugged(shell: Shell, *arguments: str, commands: list[str], code: int = 0) -> list[str]:
    """What a session says before the debugger's first command, and in answer to each."""
    done = subprocess.run(
        shell.command("debug", *arguments),
        input="\n".join([*commands, ""]),
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout.split("(Pdb) ")


def test_a_run_is_stepped_through_from_its_first_line(shell: Shell) -> None:
    run_twice(shell)
    before = shell.json("show", "t", "--history")
    commands = ["n", "p first", "n", "p second, third", "c"]
    start, step, first, last_step, both, end = debugged(shell, "t", "twice", commands=commands)
    assert start.startswith("Replaying 7 events of t (run ")
    assert re.search(r'^event 1: .* WORKFLOW_STARTED name="Twice" version="1".* 4$', start, re.M)
    assert f"twice.py({line_of('first = await')})run()" in start
    assert re.search(r"^event 3: .* ACTIVITY_COMPLETED activity_id=1 attempt=1 8$", step, re.M)
    assert f"twice.py({line_of('second, third = await')})run()" in step
    assert first == "8\n"
    assert last_step.count("ACTIVITY_COMPLETED") == 2
    assert f"twice.py({line_of('return await ctx.wait')})run()" in last_step
    assert both == "(16, 200)\n"
    assert end.splitlines() == [
        "The history ends here: the run is open, and the code fits what it has done.",
        f"It waits at twice.py:{line_of('return await ctx.wait')}, in run: return await "
        'ctx.wait_for_signal("go", type=int) + second + third',
    ]
    assert shell.json("show", "t", "--history") == before


def test_it_stops_before_the_event_that_is_asked_for(sqlite_shell: Shell) -> None:
    run_twice(sqlite_shell)
    at_answer = ["t", "twice", "--at", "3"]
    start, before, _, after, _ = debugged(
        sqlite_shell, *at_answer, commands=["p list(locals())", "n", "p first", "q"]
    )
    assert "event 3: " in start
    assert f"twice.py({line_of('first = await')})run()" in start
    assert before == "['self', 'ctx']\n"
    assert after == "8\n"
    # Event 4 is asked for by what event 3 brings.
    assert debugged(sqlite_shell, "t", "twice", "--at", "4", commands=["q"])[0] == start


def test_it_steps_through_the_users_own_code_alone(sqlite_shell: Shell) -> None:
    run_twice(sqlite_shell)
    commands = ["n", *["s"] * 6, "c"]
    said = "".join(debugged(sqlite_shell, "t", "twice", "--at", "3", commands=commands))
    places = re.findall(r"^> (.*?)\(\d+\)(\w+)\(\)", said, re.M)
    assert {Path(path).name for path, _ in places} == {"twice.py"}
    assert {function for _, function in places} == {"run", "again"}


def test_breakpoints_stop_it(sqlite_shell: Shell) -> None:
    run_twice(sqlite_shell)
    commands = [f"b twice.py:{line_of('return result')}", "c", "p result", "c", "p result", "q"]
    _, _, stop, first, _, second, _ = debugged(sqlite_shell, "t", "twice", commands=commands)
    assert f"twice.py({line_of('return result')})again()" in stop
    assert {first, second} == {"16\n", "200\n"}


def test_a_file_is_debugged_without_a_database(sqlite_shell: Shell, tmp_path: Path) -> None:
    run_twice(sqlite_shell)
    file = tmp_path / "t.json"
    sqlite_shell.run("history", "export", "t", "-o", str(file))
    elsewhere = ["--file", str(file), "--dsn", f"sqlite:///{tmp_path / 'none.db'}", "twice"]
    _, rest = debugged(sqlite_shell, *elsewhere, commands=["c"])
    assert rest.count("ACTIVITY_COMPLETED") == 3
    assert not (tmp_path / "none.db").exists()


def test_code_that_does_not_fit_is_told_at_the_end(sqlite_shell: Shell) -> None:
    run_twice(sqlite_shell)
    changed = CODE.replace("ctx.activity(double, number)", "ctx.wait_for_signal('n', type=int)")
    (sqlite_shell.folder / "twice.py").write_text(changed)
    *_, end = debugged(sqlite_shell, "t", "twice", commands=["c"], code=1)
    assert "The replay broke.\nThe code no longer asks for what the history recorded" in end
    # Who leaves before has not been told of anything.
    assert debugged(sqlite_shell, "t", "twice", commands=["q"])[1:] == [""]


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["w"], 2, "Give the ID of a workflow and the MODULE of its code."),
        (["w", "shop:Double"], 1, "There is no workflow 'Wait' in version '2' here, only Double."),
        (["w", "shop", "--at", "5"], 2, "There is no event 5: the history has 0 events."),
        (["x", "shop"], 3, "There is no run with the workflow id 'x'"),
        (["--file", "none.json", "shop"], 2, "none.json: No such file"),
        (["--file", "x.json", "--run-id", "1", "shop"], 2, "--run-id is for a run of the"),
    ],
)
def test_what_cannot_be_debugged_is_told(
    sqlite_shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    complaint: str,
) -> None:
    monkeypatch.syspath_prepend(sqlite_shell.folder)
    sqlite_shell.run("start", "Wait", "--version", "2", "--id", "w")
    try:
        assert complaint in sqlite_shell.run("debug", *arguments, code=code).stderr
    finally:
        sys.modules.pop("shop", None)
