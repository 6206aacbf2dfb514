"""Threads for activities: used again, never in the way of others or of the process's end."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from concurrent.futures import Future

import pytest

from loom.runner.threads import ActivityThreads, _call


class Thing:
    """Something to keep a weak reference to."""


def test_results_and_errors_come_back() -> None:
    threads = ActivityThreads()
    assert threads.submit(pow, 2, exp=5).result(30) == 32
    with pytest.raises(SystemExit):
        threads.submit(sys.exit, 3).result(30)
    threads.shutdown()


def test_a_call_that_hangs_is_in_nobodys_way() -> None:
    threads, gate = ActivityThreads(), threading.Event()
    hanging = [threads.submit(gate.wait, 20) for _ in range(3)]
    assert threads.submit(pow, 2, 3).result(30) == 8
    assert not any(future.done() for future in hanging)
    gate.set()
    assert [future.result(30) for future in hanging] == [True] * 3
    threads.shutdown()


def test_threads_are_used_again_and_end_at_shutdown() -> None:
    threads = ActivityThreads()
    used = [threads.submit(threading.current_thread).result(30) for _ in range(5)]
    threads.submit(pow, 2, 3).result(30)
    threads.shutdown()
    for thread in used:
        thread.join(5)
        assert not thread.is_alive()


def test_a_cancelled_call_is_not_made() -> None:
    threads, gate = ActivityThreads(), threading.Event()
    made: Future[None] = Future()
    assert made.cancel()
    _call(made, gate.set)
    assert not gate.is_set()
    threads.shutdown()


def test_nothing_is_kept_of_a_call_that_is_over() -> None:
    threads = ActivityThreads()
    thing = Thing()
    seen = weakref.ref(thing)
    threads.submit(id, thing).result(30)
    threads.submit(pow, 2, 3).result(30)
    del thing
    gc.collect()
    assert seen() is None
    threads.shutdown()


def test_a_running_call_does_not_keep_the_process_from_ending() -> None:
    code = """
import threading, time
from loom.runner.threads import ActivityThreads, _call
begun = threading.Event()
ActivityThreads().submit(lambda: (begun.set(), time.sleep(600)))
begun.wait()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
