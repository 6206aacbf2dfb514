"""``loom start``, ``list``, ``show`` and the rest, as their users have them."""

from __future__ import annotations

import asyncio
import json
import re

from tests.acceptance.cli.shell import DEADLINE, Shell, wait_until, wait_until_told
from tests.tampering import tamper

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


def test_a_run_that_continued_as_new_is_shown_without_waiting_for_the_others(shell: Shell) -> None:
    with shell.worker():
        shell.run("start", "Relay", "--id", "r", "--input", "true")
        wait_until(lambda: len(shell.json("list")) == 2)
    last, first = shell.json("list")
    shown = shell.json("show", "r", "--run-id", first["run_id"])
    assert (shown["status"], shown["result"]) == ("CONTINUED_AS_NEW", None)
    assert shell.json("show", "r")["continued_from"] == first["run_id"]
    assert first["run_id"] in shell.run("show", "r", "--run-id", last["run_id"]).stdout


def test_a_run_that_failed_and_is_tried_again_is_shown_without_waiting(shell: Shell) -> None:
    with shell.worker():
        shell.run("start", "Refuse", "--id", "r", "--retry-attempts", "20")
        wait_until(lambda: len(shell.json("list")) > 1)
    first = shell.json("list")[-1]
    shown = shell.json("show", "r", "--run-id", first["run_id"])
    assert (shown["status"], shown["failure"]) == ("FAILED", None)
    assert "FAILED" in shell.run("show", "r", "--run-id", first["run_id"]).stdout


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
    assert shell.run("list", "--name", "Nothing").stdout.startswith("There are no such runs")


def test_a_run_that_is_set_apart_is_told_of_and_tried_again(shell: Shell) -> None:
    shell.run("start", "Double", "--input", "1", "--id", "d")
    assert "not BLOCKED" in shell.run("retry", "d").stdout
    reason = "3 workers in a row were lost while they held this run."
    statement = (
        f"UPDATE workflows SET status = 'BLOCKED', lost_owners = 3, blocked_reason = '{reason}', "
        "due_at = NULL"
    )
    asyncio.run(tamper(shell.dsn, statement))
    shown = shell.run("show", "d").stdout
    assert reason in shown
    assert "`loom terminate d` ends it" in shown
    assert "d is due" in shell.run("retry", "d").stdout
    assert shell.json("show", "d")["wake_at"] is not None
    assert "there is no run" in shell.run("retry", "e", code=3).stderr.lower()
    shell.run("terminate", "d")
    assert "nothing to try again" in shell.run("retry", "d", code=1).stderr


def test_an_id_or_a_key_decides_whether_a_run_is_started(shell: Shell) -> None:
    double = ["start", "Double", "--input", "1"]
    [first] = shell.run(*double, "--id", "d").output.splitlines()
    again = shell.run(*double, "--id", "d")
    assert (first, again.stdout) == ("d", "d\n")
    assert "d is running already" in again.stderr
    started = shell.json(*double, "--id", "e", "--retry-attempts", "3", "--retry-not", "OSError")
    known = shell.json(*double, "--id", "e")
    assert (started.pop("is_new"), known.pop("is_new")) == (True, False)
    assert started == known
    shell.run("terminate", "e")
    assert (
        "running already" in shell.run(*double, "--id", "d", "--on-conflict", "fail", code=1).stderr
    )
    shell.run(*double, "--id", "d", "--on-conflict", "terminate_existing")
    statuses = [run["status"] for run in shell.json("list", "--id", "d")]
    assert statuses == ["RUNNING", "TERMINATED"]
    shell.run("terminate", "d")
    assert "has run already" in shell.run(*double, "--id", "d", "--reuse", "reject", code=1).stderr
    shell.run(*double, "--id", "d", "--reuse", "allow_failed")
    first = shell.run(*double, "--idempotency-key", "k").stdout
    shell.run("terminate", first.strip())
    assert shell.run(*double, "--idempotency-key", "k").stdout == first


def test_a_run_begins_later_and_has_its_time(shell: Shell) -> None:
    shell.run(
        "start", "Double", "--input", "1", "--id", "d", "--delay", "2h", "--run-timeout", "1d"
    )
    assert re.search(r"RUNNING, begins in [12] h", shell.run("list").stdout)
    shown = shell.run("show", "d").stdout
    assert re.search(r"begins +.*, in [12] h", shown)
    assert re.search(r"times out +.*, in 2[56] h", shown)
    shell.run("cancel", "d")
    assert shell.json("show", "d")["status"] == "CANCELLED"
    shell.run("start", "Double", "--input", "1", "--id", "e", "--start-at", "2100-01-01T12:00Z")
    assert shell.json("show", "e")["start_at"] == "2100-01-01T12:00:00+00:00"
    assert "no length of time" in shell.run("start", "Double", "--delay", "soon", code=2).stderr


def test_runs_are_found_by_their_tags_and_more(shell: Shell) -> None:
    tags = ["--tag", "total=12.5", "--tag", 'zip="01234"', "--tag", "by=Ada L."]
    shell.run("start", "Double", "--input", "1", "--id", "d-1", *tags, "--memo", '{"note": 5}')
    shell.run("start", "Double", "--input", "1", "--id", "e-1", "--tag", "zip=01234")

    def ids(*filters: str) -> list[str]:
        found = [run["workflow_id"] for run in shell.json("list", *filters)]
        assert shell.run("list", "--count", *filters).stdout == f"{len(found)}\n"
        return found

    assert ids("--tag", "total=12.50", "--tag", "by=Ada L.") == ["d-1"]
    assert ids("--tag", "zip=01234") == ["e-1", "d-1"]
    assert ids("--tag", "total=13") == []
    assert ids("--id-prefix", "e") == ids("--id", "e-1") == ["e-1"]
    assert ids("--queue", "default") == ["e-1", "d-1"]
    assert ids("--queue", "fast") == ids("--id", "e") == []
    assert ids("--open", "--version", "1", "--started-after", "2020-01-01") == ["e-1", "d-1"]
    assert ids("--closed") == ids("--started-before", "2020-01-01T12:00+02:00") == []
    assert "by=Ada L., total=12.5, zip=01234" in shell.run("list").stdout
    shown = shell.run("show", "d-1").stdout
    assert "by=Ada L., total=12.5, zip=01234" in shown
    assert '{"note": 5}' in shown
    assert shell.json("show", "d-1")["tags"]["total"] == 12.5


def test_a_tag_or_a_moment_that_is_none_is_told(shell: Shell) -> None:
    assert "NAME=VALUE" in shell.run("list", "--tag", "total", code=2).stderr
    assert "is no moment" in shell.run("list", "--closed-after", "noon", code=2).stderr


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
        "start_at",
        "deadline",
        "tags",
        "memo",
        "history_length",
        "blocked_reason",
        "worker",
        "waiting_for_worker_since",
        "continued_from",
        "lost_owners",
        "first_run_id",
    }
    assert set(shell.json("list")[0]) == fields
    assert set(shell.json("show", "d")) == fields | {
        "activities",
        "messages",
        "result",
        "failure",
    }


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
    with shell.worker("shop", "Double"):
        shell.run("start", "Double", "--input", "4", "--id", "d")
        wait_until(lambda: shell.json("show", "d")["activities"] != [])
    (pending,) = shell.json("show", "d")["activities"]
    assert (pending["name"], pending["attempt"], pending["worker"]) == ("double", 0, None)
    assert "Waiting for activities" in shell.run("show", "d").stdout


def test_a_run_that_no_worker_has_says_what_it_needs(sqlite_shell: Shell) -> None:
    sqlite_shell.run("start", "Wait", "--id", "w")
    shown = sqlite_shell.run("show", "w").stdout
    assert "no worker has taken it for" in shown
    assert "it needs a worker of the queue 'default' with Wait, version 1" in shown


def test_an_activity_that_no_worker_has_is_told(sqlite_shell: Shell) -> None:
    with sqlite_shell.worker("shop", "Double"):
        waiting = sqlite_shell.start("start", "Double", "--input", "1", "--id", "d", "--wait")
        wait_until_told(waiting.stderr, "Waiting for d")
        wait_until_told(waiting.stderr, "no worker has taken the activity double for")
        sqlite_shell.run("terminate", "d")
        waiting.communicate(timeout=DEADLINE)


def test_a_wait_tells_what_keeps_the_run_up(sqlite_shell: Shell) -> None:
    waiting = sqlite_shell.start("start", "Double", "--input", '"many"', "--id", "d", "--wait")
    wait_until_told(waiting.stderr, "Waiting for d")
    wait_until_told(waiting.stderr, "no worker has taken it for")
    with sqlite_shell.worker():
        wait_until_told(waiting.stderr, "BLOCKED: The input of workflow 'Double'")
        sqlite_shell.run("terminate", "d")
        _, error = waiting.communicate(timeout=DEADLINE)
    assert waiting.returncode == 1
    assert error.endswith("loom: Workflow 'd' was terminated.\n")


# --- cancel, terminate ---------------------------------------------------------------------------


def test_a_cancelled_run_is_cancelled_by_its_code(shell: Shell) -> None:
    with shell.worker():
        shell.run("start", "Wait", "--version", "2", "--id", "w")
        shell.run("cancel", "w", "--reason", "changed my mind")
        wait_until(lambda: shell.json("show", "w")["status"] == "CANCELLED")
    assert "changed my mind" in shell.run("show", "w").stdout


def test_a_request_that_nobody_has_taken_is_shown(shell: Shell) -> None:
    shell.run("start", "Wait", "--version", "2", "--id", "w")
    for _ in range(2):
        shell.run("signal", "w", "stop")
    shell.run("cancel", "w")
    assert re.search(
        r"inbox +signal stop \(2\), request to cancel\n", shell.run("show", "w").stdout
    )
    names = [(message["type"], message["name"]) for message in shell.json("show", "w")["messages"]]
    signals = [("SIGNAL_RECEIVED", "stop")] * 2
    assert names == [("WORKFLOW_STARTED", None), *signals, ("WORKFLOW_CANCEL_REQUESTED", None)]


def test_a_run_that_is_blocked_says_what_helps_and_what_waits(sqlite_shell: Shell) -> None:
    with sqlite_shell.worker():
        sqlite_shell.run("start", "Double", "--input", '"many"', "--id", "d 1")
        wait_until(lambda: sqlite_shell.json("show", "d 1")["status"] == "BLOCKED")
    assert "d 1 is BLOCKED, so this waits" in sqlite_shell.run("cancel", "d 1").stderr
    shown = sqlite_shell.run("show", "d 1").stdout
    assert shown.count("The input of workflow 'Double'") == 1
    assert "loom start Double --version 1 --id 'd 1' --on-conflict terminate_existing" in shown
    assert "request to cancel" in shown


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
