"""The ledger: a file, outside Loom's database, that tells every execution of an activity.

Each execution writes one line when it starts and one when it ends, forced to disk before it goes
on. A process that is killed leaves a start without an end. So what really ran can be compared,
afterwards, with what Loom's history says.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import loom


@dataclass(frozen=True)
class Execution:
    """One execution of an activity, as the ledger tells it. Times are seconds since the epoch."""

    run_id: str
    activity: str
    activity_id: int
    attempt: int
    file: str
    process: int
    started_at: float
    ended_at: float | None = None
    error: str | None = None


@contextmanager
def execution(ledger: Path, info: loom.ActivityInfo, file: str) -> Iterator[None]:
    """Writes that an execution starts and, whether it succeeds or raises, that it ends."""
    key = uuid.uuid4().hex
    started = Execution(
        info.run_id,
        info.activity,
        info.activity_id,
        info.attempt,
        file,
        process=os.getpid(),
        started_at=time.time(),
    )
    _append(ledger, {"start": key, **asdict(started)})
    try:
        yield
    except BaseException as error:
        _append(ledger, {"end": key, "ended_at": time.time(), "error": type(error).__name__})
        raise
    _append(ledger, {"end": key, "ended_at": time.time()})


def read(ledger: Path) -> list[Execution]:
    """All executions, in the order of their starts."""
    found: dict[str, Execution] = {}
    for line in _lines(ledger):
        if key := line.pop("start", None):
            found[key] = Execution(**line)
        else:
            key = line.pop("end")
            found[key] = replace(found[key], **line)
    return list(found.values())


def _append(ledger: Path, line: dict[str, object]) -> None:
    # One write in append mode: lines of several processes do not mix.
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (json.dumps(line) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lines(ledger: Path) -> Iterator[dict[str, Any]]:
    with suppress(FileNotFoundError):
        for line in ledger.read_text().splitlines():
            yield json.loads(line)
