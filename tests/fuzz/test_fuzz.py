"""A short dose of hostile input at every boundary; ``python -m tests.fuzz`` gives a long one."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from loom.errors import LoomError, PayloadError
from tests.fuzz import trials, watch
from tests.fuzz.applications import applications
from tests.fuzz.limits import TakesTooLong
from tests.fuzz.targets import PURE, Target
from tests.fuzz.trials import MEMORY, Outcome, try_many, try_one

INPUTS = 5_000
SLOW = 600


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """What is logged of damage is not looked at here."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def check(outcome: Outcome, targets: tuple[Target, ...]) -> None:
    assert outcome.findings == [], "\n".join(map(str, outcome.findings))
    # An input that is never taken, or never refused, would find nothing behind the boundary.
    assert {target.name for target in targets} <= set(outcome.taken)


def test_what_comes_in_is_taken_or_refused_and_does_nothing_else() -> None:
    check(try_many(PURE, INPUTS, seed=1), PURE)


def test_an_application_takes_or_refuses_what_it_is_asked_given_and_finds_in_its_rows() -> None:
    with applications() as targets:
        check(try_many(targets, SLOW, seed=1), targets)


# --- the harness itself --------------------------------------------------------------------------


CODE = compile("a = 1", "planted", "exec")


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("1 + 1",)


def fed(feed: Callable[[], object], *refusals: type[LoomError]) -> Outcome:
    """What comes of an input that does just this."""
    outcome = Outcome()
    try_one(Target("planted", lambda chance: (feed(), None)[1], refusals), 0, 0, outcome)
    return outcome


@pytest.mark.parametrize(
    "done",
    [
        lambda: eval("1 + 1"),
        lambda: exec("a = 1"),
        lambda: exec(compile("a = 1", "evil", "exec")),
        lambda: compile("a = 1", "evil", "exec"),
        lambda: exec(CODE),
        lambda: pickle.loads(pickle.dumps(Evil())),
        lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        lambda: os.kill(os.getpid(), 0),
        lambda: [][1],
        lambda: sys.exit(1),
    ],
)
def test_what_data_may_not_bring_about_is_a_finding(done: Callable[[], object]) -> None:
    assert len(fed(done, PayloadError).findings) == 1


@pytest.mark.parametrize(
    "done",
    [
        lambda path: path.write_text("a"),
        lambda path: os.open(path, os.O_RDONLY | os.O_CREAT),
        lambda path: os.open(path, os.O_RDWR | os.O_CREAT),
        lambda path: path.touch(),
        lambda path: path.parent.touch(),
        lambda path: os.makedirs(path),
        lambda path: sqlite3.connect(path),
        lambda path: sqlite3.connect(f"file:{path}?mode=rwc", uri=True),
        lambda path: os.symlink("/etc/passwd", path),
        lambda path: os.truncate(path, 0),
        lambda path: os.rename(path, path.with_suffix(".old")),
        lambda path: os.remove(path),
        lambda path: os.rmdir(path),
    ],
)
def test_what_changes_files_that_are_not_the_input_s_is_a_finding(
    done: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_TEMPORARY", tmp_path / "elsewhere")
    [finding] = fed(lambda: done(tmp_path / "made"), PayloadError).findings
    assert isinstance(finding.error, watch.Executed)


def test_what_was_done_before_a_refusal_is_a_finding() -> None:
    def feed() -> None:
        eval("1 + 1")
        raise PayloadError("never mind")

    [finding] = fed(feed, PayloadError).findings
    assert isinstance(finding.error, watch.Executed)


def test_a_file_is_looked_at_while_somebody_has_the_lock_of_tempfile() -> None:
    lock = tempfile._once_lock  # type: ignore[attr-defined]
    with lock:
        [finding] = fed(lambda: Path("/nowhere/at/all").write_text("a")).findings
    assert isinstance(finding.error, watch.Executed)


@pytest.mark.parametrize("size", [MEMORY + (64 << 20), 800 << 20, 1 << 44])
def test_what_takes_too_much_memory_is_a_finding(size: int) -> None:
    def refuse() -> None:
        try:
            bytearray(size)
        except Exception as error:
            raise PayloadError("too large") from error

    assert isinstance(fed(lambda: bytearray(size), PayloadError).findings[0].error, MemoryError)
    assert len(fed(refuse, PayloadError).findings) == 1
    assert fed(lambda: bytearray(MEMORY // 4)).findings == []


def stay() -> None:
    while True:
        with contextlib.suppress(Exception):
            time.sleep(20)


@pytest.mark.parametrize("done", [lambda: time.sleep(20), stay, threading.Event().wait])
def test_what_takes_too_long_is_a_finding(
    done: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "PATIENCE", 0.2)
    [finding] = fed(done, PayloadError).findings
    assert isinstance(finding.error, TakesTooLong)


def test_a_limit_of_time_leaves_alone_what_somebody_else_had_set() -> None:
    rest, _ = signal.getitimer(signal.ITIMER_REAL)
    fed(lambda: None)
    after, _ = signal.getitimer(signal.ITIMER_REAL)
    assert 0 <= rest - after < 60
    assert bool(rest) == bool(after)


def test_a_refusal_of_another_kind_is_a_finding() -> None:
    def feed(chance: Random) -> None:
        raise PayloadError("not this one")

    outcome = Outcome()
    try_one(Target("planted", feed, ()), 0, 0, outcome)
    assert len(outcome.findings) == 1


def test_an_input_is_made_again_by_its_number() -> None:
    def drawn() -> list[float]:
        seen: list[float] = []
        target = Target("planted", lambda chance: seen.append(chance.random()), ())
        try_many([target], 5, seed=3)
        return seen

    assert drawn() == drawn()
    assert len(set(drawn())) == 5
