"""How the command line writes things down."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from loom.cli.output import duration, harmless, one_line, print_fields, print_json, print_table
from loom.history.status import RunStatus


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (47.5 * 3600, "47 h 30 min"),
        (48 * 3600, "2 d 0 h"),
    ],
)
def test_a_length_of_time_has_the_units_that_matter(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


def test_a_long_value_is_cut_off() -> None:
    assert one_line({"a": "é"}) == '{"a": "é"}'
    assert len(one_line("x" * 1000, limit=50)) == 50


def test_json_has_times_in_iso_8601_and_names_of_statuses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json({"at": datetime(2026, 1, 2, tzinfo=UTC), "status": RunStatus.RUNNING})
    assert json.loads(capsys.readouterr().out) == {
        "at": "2026-01-02T00:00:00+00:00",
        "status": "RUNNING",
    }


HOSTILE = "red\x1b[31m, title\x1b]0;x\x07, \r\x9b2J \u202eback \U000e0041 ü"
SHOWN = r"red\u001b[31m, title\u001b]0;x\u0007, \u000d\u009b2J \u202eback \udb40\udc41 ü"


def test_nothing_from_a_run_is_obeyed_by_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert harmless(f"a\tb\n{HOSTILE}\n") == f"a\tb\n{SHOWN}\n"
    print_table(["id"], [(HOSTILE,)])
    assert capsys.readouterr().out == f"ID\n{SHOWN}\n"
    print_json({"value": HOSTILE})
    printed = capsys.readouterr().out
    assert all(line.isprintable() for line in printed.splitlines())
    assert json.loads(printed) == {"value": HOSTILE}


def test_a_plain_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["id", "events"], [("a", 1), ("longer", None)])
    assert capsys.readouterr().out == "ID      EVENTS\na       1\nlonger  -\n"


def test_a_table_without_rich_is_the_plain_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for module in ("rich.box", "rich.console", "rich.table"):
        monkeypatch.setitem(sys.modules, module, None)
    print_table(["id"], [("a",)])
    assert capsys.readouterr().out == "ID\na\n"


def test_a_table_with_rich_holds_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(["id", "name"], [("a", "[bold]b[/bold]")])
    output = capsys.readouterr().out
    assert all(text in output for text in ("id", "name", "a", "[bold]b[/bold]"))


def test_a_table_too_wide_for_the_terminal_is_the_plain_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    print_table(["id"], [("0" * 32,)])
    assert capsys.readouterr().out == f"ID\n{'0' * 32}\n"


def test_fields_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"id": "a", "closed": None, "queue": "q"})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["id", "a"],
        ["queue", "q"],
    ]
