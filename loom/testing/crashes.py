"""Crashes at commits: which of a test's commits there are, and at which one a worker dies.

A *commit* is a write by which an environment's worker moves runs on. At each of them a process can
die in two ways that its successor must tell apart: before it, so that nothing was written and what
led to it is done again, and after it, so that all was written and nobody has heard of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from loom.errors import LoomError
from loom.identifiers import RunKey
from loom.runner.transitions import event_of
from loom.storage.records import ActivityCompletion, Effects, Heartbeat, NewRun, Transition

COMMITS: Final = frozenset(
    {
        "start_runs",
        "write_transitions",
        "complete_activity_tasks",
        "record_heartbeats",
        "send_messages",
    }
)
"""The calls by which a worker moves runs on. Claims and leases are no commits: a crash after one is
a crash before the next commit."""


class CrashMoment(StrEnum):
    """When a worker dies."""

    BEFORE = "before"
    """Nothing was written."""
    AFTER = "after"
    """All was written, and nobody has heard of it."""


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """One moment of a test at which its worker dies."""

    commit: int
    """Counted from 1."""
    moment: CrashMoment

    def __str__(self) -> str:
        return f"a crash {self.moment} commit {self.commit}"


@dataclass(slots=True)
class CommitWatch:
    """Counts the commits of the environments of one test, and says when a worker dies."""

    crash: CrashPoint | None = None
    commits: list[str] = field(default_factory=list)
    """What each was about."""
    environments: int = 0
    has_struck: bool = False

    def take(self, commit: str) -> CrashMoment | None:
        """Note a commit that is about to be made; how its worker dies by it, if it does."""
        self.commits.append(commit)
        if self.crash is None or self.crash.commit != len(self.commits):
            return None
        self.has_struck = True
        return self.crash.moment

    @property
    def struck_commit(self) -> str:
        """What the commit was about at which the worker died."""
        assert self.crash is not None
        return self.commits[self.crash.commit - 1]


_current: CommitWatch | None = None


def current_watch() -> CommitWatch | None:
    """The watch over the test that is running, if there is one."""
    return _current


@contextmanager
def watched(watch: CommitWatch) -> Iterator[None]:
    """Let all environments that are made meanwhile be watched.

    A global, since a test, its fixtures and its event loop do not share their context variables.
    """
    global _current
    before, _current = _current, watch
    try:
        yield
    finally:
        _current = before


# --- what a commit is about, for people ----------------------------------------------------------


def describe(method: str, items: Sequence[Any], names: Mapping[RunKey, str]) -> str:
    """For example ``Order A-1: ACTIVITY_COMPLETED, ACTIVITY_SCHEDULED ship``."""
    return "; ".join(_describe_item(method, item, names) for item in items)


def _describe_item(method: str, item: Any, names: Mapping[RunKey, str]) -> str:
    match item:
        case Transition():
            return f"{names.get(item.run_key, '?')}: {_effects(item.effects)}"
        case NewRun():
            return f"{item.name} {item.workflow_id}: start"
        case ActivityCompletion():
            outcome = "retry" if item.arrival is None else item.arrival.type
            return f"{names.get(item.run_key, '?')}: {outcome} (activity {item.activity_id})"
        case Heartbeat():
            return f"{names.get(item.run_key, '?')}: heartbeat (activity {item.activity_id})"
    return method


def _effects(effects: Effects) -> str:
    if not effects.events:
        return str(effects.status)
    return ", ".join(f"{record.type}{_subject(record)}" for record in effects.events)


def _subject(record: Any) -> str:
    try:
        name = getattr(event_of(record), "name", None)
    except LoomError:
        return ""
    return f" {name}" if name else ""
