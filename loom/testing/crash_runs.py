"""Running one test again and again, each time with a crash at another of its commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Final

import pytest
from _pytest.runner import runtestprotocol

from loom.testing.crashes import CommitWatch, CrashMoment, CrashPoint, watched

_MOST_TOLD: Final = 20


def run_with_crashes(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Run a test without a crash and then, if it passes, with each crash that it can have.

    It is reported as one test: as it went without a crash, or else as the first crash that it did
    not get over.
    """
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in [*_reports(item), *_leave(item, nextitem)]:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _reports(item: pytest.Item) -> Sequence[pytest.TestReport]:
    watch = CommitWatch()
    reports = _run(item, watch)
    if not all(report.passed for report in reports):
        return reports
    setup, call, teardown = reports
    if not watch.commits:
        call.outcome, call.longrepr = "failed", _NOTHING_TO_CRASH
        return reports
    runs = list(_run_with_each_crash(item, len(watch.commits)))
    call.duration += sum(report.duration for _, reports in runs for report in reports)
    failures = [(watch, report) for watch, reports in runs for report in reports if report.failed]
    if not failures:
        call.user_properties.append(("loom_crashes", len(runs)))
        return reports
    failed = failures[0][1]
    failed.when, failed.duration = "call", call.duration
    _explain(failed, [watch for watch, _ in failures], len(runs))
    return [setup, failed, teardown]


def _run_with_each_crash(
    item: pytest.Item, commits: int
) -> Iterator[tuple[CommitWatch, Sequence[pytest.TestReport]]]:
    """All crashes that come about, as many as there turn out to be: a test may have more commits
    one time than another."""
    for number in count(1):
        for moment in CrashMoment:
            watch = CommitWatch(CrashPoint(number, moment))
            reports = _run(item, watch)
            if not watch.has_struck and number > commits:
                return
            yield watch, reports


def _run(item: pytest.Item, watch: CommitWatch) -> Sequence[pytest.TestReport]:
    """One run with fixtures of its own; those of wider scopes stay for the next."""
    parent: Any = item.parent
    with watched(watch):
        return runtestprotocol(item, log=False, nextitem=parent)


def _leave(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """Tear down the fixtures of wider scopes that the next test does not share."""
    call = pytest.CallInfo.from_call(
        lambda: item.session._setupstate.teardown_exact(nextitem), when="teardown"
    )
    if call.excinfo is None:
        return []
    report: pytest.TestReport = item.ihook.pytest_runtest_makereport(item=item, call=call)
    return [report]


# --- what a failure says -------------------------------------------------------------------------

_NOTHING_TO_CRASH: Final = (
    "The test is marked loom_crashes, and no workflow environment made a commit while it ran: "
    "nothing can crash. Use a WorkflowEnvironment, and wait in it for what its runs do."
)


def _explain(report: pytest.TestReport, failed: Sequence[CommitWatch], runs: int) -> None:
    crash = _name(failed[0])
    lines = [
        f"The test passes without a crash, and fails with {len(failed)} of {runs}:",
        *(f"  {_name(watch)}" for watch in failed[:_MOST_TOLD]),
    ]
    if len(failed) > _MOST_TOLD:
        lines.append(f"  and {len(failed) - _MOST_TOLD} others")
    lines.append("What is shown is the first of them.")
    report.sections.insert(0, (f"with {crash}", "\n".join(lines)))
    where = getattr(report.longrepr, "reprcrash", None)
    if where is not None:
        # What pytest shows in its summary.
        where.message = f"with {crash}: {where.message}"


def _name(watch: CommitWatch) -> str:
    if not watch.has_struck:
        return f"{watch.crash}, which did not come about"
    return f"{watch.crash} ({watch.struck_commit})"
