"""``loom worker``: what it serves, and how it stops."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from loom.cli.exits import Exit
from tests.acceptance.cli.shell import DEADLINE, Shell, wait_until


@pytest.mark.parametrize("targets", [["shop:BOTH"], ["shop:Double", "shop:double"]])
def test_a_worker_serves_what_it_is_pointed_at(sqlite_shell: Shell, targets: list[str]) -> None:
    with sqlite_shell.worker_process(*targets):
        done = sqlite_shell.run("start", "Double", "--input", "1", "--wait")
    assert json.loads(done.stdout) == 2


def test_a_worker_serves_its_own_queue_alone(sqlite_shell: Shell) -> None:
    with sqlite_shell.worker_process("shop", "--queue", "fast", "--concurrency", "2"):
        sqlite_shell.run("start", "Double", "--input", "1", "--id", "slow")
        sqlite_shell.run("start", "Double", "--input", "1", "--queue", "fast", "--wait")
    assert sqlite_shell.json("show", "slow")["status"] == "RUNNING"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_worker_at_once(shell: Shell, number: signal.Signals) -> None:
    with shell.worker_process("shop") as worker:
        shell.run("start", "Wait", "--version", "2", "--id", "w")
        wait_until(lambda: shell.json("show", "w")["history_length"] > 0)
        worker.send_signal(number)
        _, error = worker.communicate(timeout=DEADLINE)
    assert worker.returncode == 0
    assert error.endswith("Stopped.\n")


def _interrupted(worker: subprocess.Popen[str]) -> bool:
    worker.send_signal(signal.SIGINT)
    return worker.poll() == Exit.INTERRUPTED


def test_a_second_signal_ends_a_worker_that_is_stuck(sqlite_shell: Shell) -> None:
    with sqlite_shell.worker_process("shop") as worker:
        sqlite_shell.run("start", "Freeze")
        assert worker.stdout is not None
        assert worker.stdout.readline() == "frozen\n"
        # Python itself misses a signal that comes in the instant before a long call begins.
        wait_until(lambda: _interrupted(worker))
