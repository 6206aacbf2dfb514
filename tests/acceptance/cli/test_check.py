"""``loom check --lint``: what would not replay is found before it is deployed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.cli.shell import Shell

CLOCK = """\
import time

import loom


@loom.activity
def stamp() -> float:
    return time.time()


@loom.workflow
class Stamped(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> float:
        return time.time()
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell whose modules are imported into this process, and forgotten at the end."""
    shell = Shell(tmp_path, "memory://unused")
    (shell.folder / "stamps.py").write_text(CLOCK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield shell
    for name in ("shop", "stamps"):
        sys.modules.pop(name, None)


def test_what_would_not_replay_is_printed_and_fails_the_command(shell: Shell) -> None:
    done = shell.run("check", "--lint", "stamps", code=1)
    assert done.stdout == (
        "stamps.py:14:16: [clock] time.time() reads this machine's clock; use ctx.now() "
        "(in Stamped.run)\n"
    )
    assert done.stderr == "1 workflow checked: 1 finding.\n"


def test_programs_read_findings_as_json(shell: Shell) -> None:
    (finding,) = json.loads(shell.run("check", "--lint", "stamps", "--json", code=1).stdout)
    assert finding == {
        "path": "stamps.py",
        "line": 14,
        "column": 16,
        "function": "Stamped.run",
        "rule": "clock",
        "problem": "time.time() reads this machine's clock",
        "instead": "use ctx.now()",
    }


def test_code_that_replays_passes(shell: Shell) -> None:
    done = shell.run("check", "--lint", "shop", "shop:Wait")
    assert done.stdout == ""
    assert done.stderr == "6 workflows checked: nothing found that would not replay.\n"
    assert shell.run("check", "--lint", "shop", "--format", "json").stdout == "[]\n"


def test_without_a_workflow_there_is_nothing_to_do(shell: Shell) -> None:
    assert "no workflow" in shell.run("check", "--lint", "stamps:stamp", code=2).stderr
    assert "no workflow" in shell.run("check", "stamps:stamp", code=2).stderr
