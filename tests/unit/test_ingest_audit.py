"""The ingest example's index, ledger and audit."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import loom
from examples.ingest import index, ledger
from examples.ingest.activities import LIST_FILES
from examples.ingest.audit import audit
from examples.ingest.job import Job
from examples.ingest.parsing import Definition, Document

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
    assert [*found.unrecorded, *found.repeated, *found.lost] == []


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
    assert [each.attempt for each in found.unrecorded] == [1]


def test_an_execution_that_ended_without_being_recorded_was_cut_as_well(job: Job) -> None:
    execute(job, 2, attempt=1)
    execute(job, 2, attempt=2)
    found = audit(job, "run", [*LISTING, completed(2, attempt=2)])
    assert [each.attempt for each in found.unrecorded] == [1]
    assert not found.repeated


def test_an_execution_that_raised_and_was_done_over_is_no_repetition(job: Job) -> None:
    with pytest.raises(OSError, match="full"), ledger.execution(job.ledger, info(2), "a.py"):
        raise OSError("full")
    execute(job, 2, attempt=2)
    found = audit(job, "run", [*LISTING, completed(2, attempt=2)])
    assert [each.error for each in found.unrecorded] == ["OSError"]
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
