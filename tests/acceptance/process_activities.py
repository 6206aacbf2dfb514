"""Activities that run in processes, which import them from here."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import loom


@dataclass
class Report:
    process: int
    parts: list[str]


@loom.activity(executor="process")
def report(text: str, *, upper: bool = False) -> Report:
    return Report(os.getpid(), (text.upper() if upper else text).split())


@loom.activity(executor="process", retry_count=1)
def tell() -> list[Any]:
    info = loom.activity_info()
    return [info.activity, info.attempt, info.workflow_id, info.cancelled, len(info.task_token) > 9]


class Unsendable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@loom.activity(executor="process")
def raise_what(kind: str) -> object:
    if kind == "error":
        raise loom.ActivityError("no", details={"code": 7})
    if kind == "unsendable":
        raise Unsendable(1, 2)
    if kind == "exit":
        raise SystemExit(3)
    if kind == "stop":
        raise StopIteration
    if kind == "death":
        os.kill(os.getpid(), signal.SIGKILL)
    return lambda: None


@loom.activity(executor="process", retry_count=1)
def count(path: str) -> int:
    """Says how far it is, and dies."""
    done = loom.activity_info().heartbeat_details(type=int) or 0
    loom.heartbeat(done + 10)
    if done == 0:
        Path(path).touch()
        raise ValueError("not there yet")
    return done


@loom.activity(executor="process")
def endless(path: str) -> None:
    """Leaves its id, and then a sign for as long as it lives, deaf to everything."""
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(0.01)


@loom.activity(executor="process", start_to_close_timeout=0.5)
def too_slow(path: str) -> None:
    endless(path)


@loom.activity(executor="process", heartbeat_timeout=0.5)
def too_silent(path: str) -> None:
    endless(path)


@loom.activity(executor="process")
def later() -> int:
    raise loom.CompleteLater


@loom.activity(executor="process")
def leave_a_beating_thread(seconds: float) -> str:
    """Its heartbeats go on while it returns something large, and after that."""
    over_at, begun = time.monotonic() + seconds, threading.Event()

    def beat() -> None:
        while time.monotonic() < over_at:
            loom.heartbeat("of another")
            begun.set()

    threading.Thread(target=copy_context().run, args=(beat,), daemon=True).start()
    begun.wait()
    return "x" * 2_000_000


@loom.activity(executor="process", retry_count=1)
def hear() -> object:
    """Takes its time, and tells what was said by its own first attempt."""
    time.sleep(0.2)
    info = loom.activity_info()
    if info.attempt == 1:
        raise ValueError("again")
    return info.heartbeat_details()
