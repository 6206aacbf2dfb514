"""The ingest example's own parts, on awkward files."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import loom
from examples.ingest import index, ledger
from examples.ingest.activities import LIST_FILES
from examples.ingest.audit import audit
from examples.ingest.files import standard_library, text_files
from examples.ingest.job import Job
from examples.ingest.parsing import BAD_CONTENT, Definition, Document, parse

# --- which files ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ["b.py", "a/z.txt", "a/b/c.md", "a.py", "a-b.txt", "é.txt", "a/empty"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text" if name != "a/empty" else "")
    return tmp_path


def test_lists_every_text_file_in_the_order_of_its_parts(folder: Path) -> None:
    assert list(text_files(folder)) == [
        "a/b/c.md",
        "a/empty",
        "a/z.txt",
        "a-b.txt",
        "a.py",
        "b.py",
        "é.txt",
    ]


def test_a_listing_can_be_taken_up_after_any_name(folder: Path) -> None:
    everything = list(text_files(folder))
    for place, name in enumerate(everything):
        assert list(text_files(folder, after=name)) == everything[place + 1 :]


def test_a_listing_can_be_taken_up_after_a_file_that_is_gone(folder: Path) -> None:
    (folder / "a.py").unlink()
    assert list(text_files(folder, after="a.py")) == ["b.py", "é.txt"]


@pytest.mark.parametrize(
    "name", [".git/config", "__pycache__/a.pyc", "site-packages/a.py", "node_modules/a.js"]
)
def test_leaves_out_what_is_not_the_folders_own(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("text")
    assert list(text_files(tmp_path)) == []


def test_leaves_out_what_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    assert list(text_files(tmp_path)) == []


def test_does_not_follow_links_to_folders(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list(text_files(tmp_path)) == ["a.txt"]


def test_lists_a_folder_that_cannot_be_opened_so_that_its_failure_gets_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").mkdir()
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if path.name == "secret":
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list(text_files(tmp_path)) == ["secret"]


def test_lists_a_file_whose_name_is_not_utf_8_under_a_name_that_can_be_stored(
    tmp_path: Path,
) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.txt")).write_text("text")
    (name,) = text_files(tmp_path)
    assert name.encode("utf-8")
    with pytest.raises(FileNotFoundError):
        parse(tmp_path / name)


def test_the_standard_library_has_over_a_thousand_python_files() -> None:
    assert sum(name.endswith(".py") for name in text_files(standard_library())) > 1000


# --- what is in a file ---------------------------------------------------------------------------


@pytest.fixture
def parsed(tmp_path: Path) -> Callable[[str, bytes], Document]:
    def parsed(name: str, content: bytes) -> Document:
        (tmp_path / name).write_bytes(content)
        return parse(tmp_path / name)

    return parsed


def test_finds_functions_and_classes_at_any_depth(
    parsed: Callable[[str, bytes], Document],
) -> None:
    document = parsed("a.py", b"class A:\n    async def b(self):\n        def c(): ...\n")
    assert set(document.definitions) == {
        Definition("A", 1),
        Definition("b", 2),
        Definition("c", 3),
    }


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.py", b"", 0),
        ("latin.py", b"# -*- coding: latin-1 -*-\nname = 'caf\xe9'\n", 8),
        ("bom.py", b"\xef\xbb\xbfname = 1\n", 3),
        ("crlf.py", b"a = 1\r\nb = 2", 6),
        ("formfeed.py", b"\x0ca = 1\n", 3),
        ("bom.txt", b"\xef\xbb\xbfone two", 2),
        ("noise", "één\u2028two".encode(), 2),
    ],
)
def test_reads_what_is_only_odd(
    parsed: Callable[[str, bytes], Document], name: str, content: bytes, words: int
) -> None:
    document = parsed(name, content)
    assert (document.words, document.size) == (words, len(content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("python2.py", b"print 'hello'\n"),
        ("undecodable.py", b"name = 'caf\xe9'\n"),
        ("late_undecodable.py", b"a = 1\nb = 2\nc = 'caf\xe9'\n"),
        ("cookie.py", b"# coding: no-such-encoding\n"),
        ("not_text_cookie.py", b"# coding: rot13\n"),
        ("bom_and_cookie.py", b"\xef\xbb\xbf# coding: latin-1\n"),
        ("nul.py", b"a = 1\n\0\n"),
        ("nested.py", b"(" * 5000 + b")" * 5000),
        ("undecodable.txt", b"caf\xe9"),
    ],
)
def test_refuses_content_that_is_not_what_it_claims_to_be(
    parsed: Callable[[str, bytes], Document], name: str, content: bytes
) -> None:
    with pytest.raises(BAD_CONTENT):
        parsed(name, content)


# --- index ---------------------------------------------------------------------------------------

DOCUMENT = Document("0" * 64, size=10, lines=2, words=3, definitions=(Definition("f", 1),))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job(folder=tmp_path, output=tmp_path)
    index.create(job.index)
    return job


def test_entering_a_file_twice_is_entering_it_once(job: Job) -> None:
    for _ in range(2):
        index.put(job.index, "a.py", DOCUMENT)
    assert index.summary(job.index) == index.Summary(
        indexed=1, failed=0, lines=2, words=3, definitions=1
    )


def test_what_is_entered_last_holds(job: Job) -> None:
    index.put(job.index, "a.py", DOCUMENT)
    index.put_failure(job.index, "a.py", "SyntaxError: no")
    assert index.failures(job.index) == {"a.py": "SyntaxError: no"}
    index.put(job.index, "a.py", DOCUMENT)
    assert index.failures(job.index) == {}


def test_an_index_that_is_not_there_yet_counts_nothing(tmp_path: Path) -> None:
    assert index.count(tmp_path / "index.db") == 0
    (tmp_path / "index.db").touch()
    assert index.count(tmp_path / "index.db") == 0


# --- ledger --------------------------------------------------------------------------------------


def info(activity_id: int, attempt: int = 1, run_id: str = "run") -> loom.ActivityInfo:
    return loom.ActivityInfo("index_file", "id", run_id, activity_id, attempt)


def test_the_ledger_tells_start_and_end_of_an_execution(job: Job) -> None:
    with ledger.execution(job.ledger, info(1), "a.py"):
        (running,) = ledger.read(job.ledger)
        assert running.ended_at is None
    (ended,) = ledger.read(job.ledger)
    assert (ended.file, ended.process, ended.error) == ("a.py", os.getpid(), None)
    assert ended.ended_at is not None
    assert ended.ended_at >= ended.started_at


def test_the_ledger_tells_how_an_execution_failed(job: Job) -> None:
    with (
        pytest.raises(SyntaxError),
        ledger.execution(job.ledger, info(1), "a.py"),
    ):
        raise SyntaxError
    (execution,) = ledger.read(job.ledger)
    assert execution.error == "SyntaxError"


def test_a_ledger_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    assert ledger.read(tmp_path / "ledger.jsonl") == []


# --- audit ---------------------------------------------------------------------------------------


def event(type: str, value: Any = None, **attributes: Any) -> loom.HistoryEvent:
    return loom.HistoryEvent(1, datetime.now(UTC), type, attributes, value, value is not None)


def completed(activity_id: int, attempt: int = 1, value: Any = None) -> loom.HistoryEvent:
    return event("ACTIVITY_COMPLETED", value, activity_id=activity_id, attempt=attempt)


LISTING = [
    event("ACTIVITY_SCHEDULED", activity_id=1, name=LIST_FILES, queue="default"),
    completed(1, value=["a.py"]),
]


def execute(job: Job, activity_id: int, attempt: int = 1, run_id: str = "run") -> None:
    with ledger.execution(job.ledger, info(activity_id, attempt, run_id), "a.py"):
        index.put(job.index, "a.py", DOCUMENT)


def cut_short(job: Job, activity_id: int, attempt: int) -> None:
    with ledger.execution(job.ledger, info(activity_id, attempt), "a.py"):
        lines = job.ledger.read_text()
    job.ledger.write_text(lines)


def test_nothing_is_wrong_with_a_file_that_was_executed_and_recorded_once(job: Job) -> None:
    execute(job, 2)
    found = audit(job, "run", [*LISTING, completed(2)])
    assert found.holds
    assert found.listed == found.indexed == {"a.py"}
    assert [*found.cut, *found.retried, *found.repeated, *found.lost] == []


def test_a_file_that_was_listed_and_not_indexed_is_lost(job: Job) -> None:
    found = audit(job, "run", LISTING)
    assert found.lost == {"a.py"}
    assert not found.holds


def test_a_file_that_is_indexed_without_any_execution_is_lost(job: Job) -> None:
    index.put(job.index, "a.py", DOCUMENT)
    assert audit(job, "run", [*LISTING, completed(2)]).lost == {"a.py"}


def test_a_file_that_was_indexed_and_not_listed_is_wrong(job: Job) -> None:
    execute(job, 2)
    assert not audit(job, "run", [completed(2)]).holds


def test_an_execution_that_was_cut_short_and_done_over_is_no_repetition(job: Job) -> None:
    cut_short(job, 2, attempt=1)
    execute(job, 2, attempt=2)
    found = audit(job, "run", [*LISTING, completed(2, attempt=2)])
    assert found.holds
    assert [each.attempt for each in found.cut] == [1]


def test_an_execution_that_ended_without_being_recorded_was_cut_as_well(job: Job) -> None:
    execute(job, 2, attempt=1)
    execute(job, 2, attempt=2)
    found = audit(job, "run", [*LISTING, completed(2, attempt=2)])
    assert [each.attempt for each in found.cut] == [1]
    assert not found.repeated


def test_an_execution_that_raised_and_was_done_over_is_a_retry(job: Job) -> None:
    with pytest.raises(OSError, match="full"), ledger.execution(job.ledger, info(2), "a.py"):
        raise OSError("full")
    execute(job, 2, attempt=2)
    found = audit(job, "run", [*LISTING, completed(2, attempt=2)])
    assert [each.error for each in found.retried] == ["OSError"]
    assert found.holds


def test_another_attempt_after_the_recorded_one_is_a_repetition(job: Job) -> None:
    execute(job, 2, attempt=1)
    execute(job, 2, attempt=2)
    found = audit(job, "run", [*LISTING, completed(2, attempt=1)])
    assert [each.attempt for each in found.repeated] == [2]
    assert not found.holds


def test_the_same_attempt_executed_twice_is_a_repetition(job: Job) -> None:
    execute(job, 2)
    execute(job, 2)
    assert len(audit(job, "run", [*LISTING, completed(2)]).repeated) == 1


def test_executions_of_other_runs_do_not_count(job: Job) -> None:
    execute(job, 2)
    execute(job, 2, run_id="an older run")
    assert audit(job, "run", [*LISTING, completed(2)]).holds
