"""``loom signal``, ``query`` and ``update``, as their users have them."""

from __future__ import annotations

import json
import signal
from typing import Any

from tests.acceptance.cli.shell import DEADLINE, Shell, wait_until_told


def ask(shell: Shell, *arguments: str) -> Any:
    """What a query answers, asked where the module is."""
    asking = shell.start("query", *arguments)
    answer, error = asking.communicate(timeout=DEADLINE)
    assert asking.returncode == 0, error
    return json.loads(answer)


def test_a_run_is_talked_to(shell: Shell) -> None:
    with shell.worker():
        shell.run("start", "Talk", "--id", "t-1")
        for _ in range(2):
            shell.run("signal", "t-1", "say", "--payload", '"hi"', "--request-id", "r-1")
            done = shell.run("update", "t-1", "shout", '{"text": "ho"}', "--request-id", "r-1")
            assert json.loads(done.stdout) == "HO"
        refused = shell.run("update", "t-1", "shout", '{"text": "ho", "times": 10}', code=1)
        assert "was rejected: ValueError: too loud" in refused.stderr
    # Nobody works here.
    assert ask(shell, "t-1", "last", "5", "--module", "shop") == ["hi", "HO"]
    assert ask(shell, "t-1", "last", "-m", "shop:Talk") == ["HO"]


def test_an_update_that_nobody_answers_says_why_and_how_to_get_its_result(
    sqlite_shell: Shell,
) -> None:
    sqlite_shell.run("start", "Talk", "--id", "t-1")
    shout = ["update", "t-1", "shout", '{"text": "ho"}']
    late = sqlite_shell.run(*shout, "--request-id", "r-1", "--timeout", "0", code=1).stderr
    assert "send it again with --request-id r-1" in late
    waiting = sqlite_shell.start(*shout, "--request-id", "r-1")
    wait_until_told(waiting.stderr, "no worker has taken it for")
    with sqlite_shell.worker():
        answer, _ = waiting.communicate(timeout=DEADLINE)
    assert json.loads(answer) == "HO"


def test_an_interrupted_update_says_how_to_get_its_result(sqlite_shell: Shell) -> None:
    sqlite_shell.run("start", "Talk", "--id", "t-1")
    waiting = sqlite_shell.start("update", "t-1", "shout", '{"text": "ho"}', "--request-id", "r-1")
    wait_until_told(waiting.stderr, "no worker has taken it for")
    waiting.send_signal(signal.SIGINT)
    _, error = waiting.communicate(timeout=DEADLINE)
    assert waiting.returncode == 130
    assert "send it again with --request-id r-1 for its result.\nloom: interrupted.\n" in error


def test_a_query_of_a_run_that_nobody_has_begun_says_what_it_needs(sqlite_shell: Shell) -> None:
    sqlite_shell.run("start", "Talk", "--id", "t-1")
    asked = ["query", "t-1", "last", "-m", "shop"]
    assert "a worker of the queue 'default' with Talk, version 1" in sqlite_shell.run_apart(
        *asked, "--timeout", "0.1s", code=1
    )
    assert "in time" in sqlite_shell.run_apart(*asked, "--timeout", "0.1s", code=1)


def test_a_query_needs_the_code_of_the_run(shell: Shell) -> None:
    shell.run("start", "Talk", "--id", "t-1")
    wrong = shell.run_apart("query", "t-1", "last", "-m", "shop:Double", code=2)
    assert "is a run of 'Talk' in version '1', which the given modules do not define" in wrong
    assert "Missing option '--module'" in shell.run("query", "t-1", "last", code=2).stderr
    assert "no run" in shell.run_apart("query", "nobody", "last", "-m", "shop", code=3)
