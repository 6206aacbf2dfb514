"""``loom check``: the gate before a deployment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.cli.shell import WORKFLOWS, Shell, wait_until

REORDERED = """\
import loom


@loom.activity
async def double(number: int) -> int:
    return number * 2


@loom.workflow(name="Double")
class Double(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        await ctx.sleep(1)
        return await ctx.activity(double, ctx.input)


@loom.workflow(name="Wait", version="3")
class Wait(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> str:
        return await ctx.wait_for_signal("go", type=str)


NUMBER = 7
"""

CODECS = """\
import loom


class Reversed(loom.PayloadCodec):
    name = "reversed"

    def encode(self, data):
        return data[::-1]

    def decode(self, data):
        return data[::-1]


CODECS = [Reversed()]
ONE = Reversed()
"""


@pytest.fixture
def shell(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """With the code about to be deployed in ``shop_next``."""
    (shell.folder / "shop_next.py").write_text(REORDERED)
    (shell.folder / "shop_now.py").write_text(WORKFLOWS)
    (shell.folder / "shop_codecs.py").write_text(CODECS)
    monkeypatch.chdir(shell.folder)
    monkeypatch.syspath_prepend(shell.folder)
    yield shell
    for name in ("shop_next", "shop_now", "shop_codecs"):
        sys.modules.pop(name, None)


def start_double(shell: Shell, id: str) -> None:
    """A run of which an activity was asked for, and never run."""
    with shell.worker("shop", "Double"):
        shell.run("start", "Double", "--input", "4", "--id", id)
        wait_until(lambda: shell.json("show", id)["activities"] != [])


def test_code_that_fits_every_open_run_may_be_deployed(shell: Shell) -> None:
    start_double(shell, "d")
    done = shell.run("check", "shop_now")
    assert done.stdout == ""
    assert done.stderr == "1 open and 0 closed runs checked: 1 fit.\n"
    assert shell.run("check", "shop_now", "-v").stdout.startswith("fits  d (run ")


def test_what_would_break_is_told_with_where_and_why(shell: Shell) -> None:
    start_double(shell, "d")
    run_id = shell.json("show", "d")["run_id"]
    done = shell.run("check", "shop_next:Double", code=1)
    first, *lines = done.stdout.splitlines()
    assert first == f"BREAKS  d (run {run_id}, Double version 1) at event 2"
    assert lines[1] == (
        "      history: ACTIVITY_SCHEDULED activity_id=1 name='double' queue='default'"
    )
    assert lines[2].startswith("      code:    TIMER_STARTED timer_id=1")
    assert lines[3].endswith("shop_next.py:12 in run: await ctx.sleep(1)")
    assert done.stderr == "1 open and 0 closed runs checked: 0 fit, 1 would break.\n"
    assert shell.json("show", "d")["status"] == "RUNNING"


def test_programs_read_it_as_json(shell: Shell) -> None:
    start_double(shell, "d")
    shell.run("start", "Wait", "--version", "2", "--id", "w")
    shell.run("start", "Refuse", "--id", "r")
    told = json.loads(shell.run("check", "shop_next", "--json", code=1).stdout)
    assert told["summary"] == {
        "good": False,
        "ok": 0,
        "broken": 1,
        "unserved": 1,
        "unreadable": 0,
        "open": 2,
        "closed": 0,
        "elsewhere": [{"name": "Refuse", "version": "1", "runs": 1}],
    }
    unserved, broken = told["runs"]
    assert (unserved["workflow_id"], unserved["outcome"]) == ("w", "unserved")
    assert "only its version '3'" in unserved["error"]
    assert (broken["workflow_id"], broken["outcome"], broken["event"]) == ("d", "broken", 2)
    assert broken["history"].startswith("ACTIVITY_SCHEDULED")
    assert broken["code"].startswith("TIMER_STARTED")
    assert broken["place"].endswith("in run: await ctx.sleep(1)")
    assert (broken["status"], broken["history_length"]) == ("RUNNING", 2)
    nothing = json.loads(shell.run("check", "shop_next", "--name", "X", "--format", "json").stdout)
    assert (nothing["runs"], nothing["summary"]["good"]) == ([], True)


def test_runs_that_no_version_serves_fail_it_unless_they_are_let_pass(shell: Shell) -> None:
    shell.run("start", "Wait", "--version", "2", "--id", "w")
    done = shell.run("check", "shop_next", code=1)
    assert done.stdout.splitlines()[0].startswith("UNSERVED  w (run ")
    assert "There is no workflow 'Wait' in version '2' here" in done.stdout
    assert "0 fit, 1 would be served by nobody." in done.stderr
    shell.run("check", "shop_next", "--allow-unserved")


def test_runs_of_other_code_are_counted_and_fail_it_when_it_is_strict(shell: Shell) -> None:
    shell.run("start", "Refuse", "--id", "r")
    done = shell.run("check", "shop_next")
    assert done.stderr.endswith(
        "Not checked, for other code has them: open runs of Refuse version 1 (1).\n"
    )
    shell.run("check", "shop_next", "--strict", code=1)
    shell.run("check", "shop_next", "--strict", "--queue", "other")


def test_closed_runs_are_checked_when_they_are_wanted(shell: Shell) -> None:
    with shell.worker():
        shell.run("start", "Double", "--input", "4", "--id", "d", "--wait")
    for sample in (["--sample", "5"], []):
        done = shell.run("check", "shop_next", *sample, code=1)
        assert done.stderr.startswith("0 open and 1 closed runs checked: 0 fit, 1 would break.")
    shell.run("check", "shop_next", "--sample", "0")


@pytest.mark.parametrize("codecs", ["shop_codecs:CODECS", "shop_codecs:ONE"])
def test_encrypted_runs_are_read_with_their_codecs(shell: Shell, codecs: str) -> None:
    script = (
        "import asyncio, loom, shop_codecs, shop\n"
        "async def main():\n"
        "    async with loom.Loom(codecs=shop_codecs.CODECS) as app:\n"
        "        async with app.worker(workflows=[shop.Double], activities=[shop.double]):\n"
        "            await (await app.start(shop.Double, 4)).result()\n"
        "asyncio.run(main())\n"
    )
    (shell.folder / "encrypted.py").write_text(script)
    _run_script(shell, "encrypted.py")
    sample = ["check", "shop_now", "--sample", "1"]
    assert "needs the codec 'reversed'" in shell.run(*sample, code=1).stdout
    shell.run(*sample, "--codecs", codecs)


def _run_script(shell: Shell, name: str) -> None:
    subprocess.run(
        [sys.executable, name], cwd=shell.folder, env=shell.environment, check=True, timeout=60
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--lint", "--sample", "3"], "--lint reads code alone"),
        (["--codecs", "shop_codecs"], "codecs are named as MODULE:ATTRIBUTE"),
        (["--codecs", "shop_codecs:Reversed"], "is no codec, nor a list of them"),
        (["--codecs", "shop_next:NUMBER"], "is no codec, nor a list of them"),
    ],
)
def test_wrong_usage_is_told(shell: Shell, arguments: list[str], complaint: str) -> None:
    assert complaint in shell.run("check", "shop_next", *arguments, code=2).stderr


def test_a_database_that_is_not_there_is_no_success(shell: Shell, tmp_path: Path) -> None:
    missing = tmp_path / "typo.db"
    said = shell.run("check", "shop_next", "--dsn", f"sqlite:///{missing}", code=4).stderr
    assert "loom db upgrade" in said
    assert not missing.exists()
