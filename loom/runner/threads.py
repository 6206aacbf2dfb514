"""Threads for activities that are plain functions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any


class ActivityThreads(Executor):
    """A thread for each call, used again when it is over.

    Unlike those of ``ThreadPoolExecutor`` they do not keep the process from ending: a call that
    runs on after its attempt was given up would hold up a worker that has handed back its work.
    There is no limit of their own either, for such calls take up no slot any more.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._work.put((future, partial(fn, *args, **kwargs)))
        if not self._idle.acquire(blocking=False):
            self._started += 1
            name = f"loom-activity-{self._started}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let idle threads end, and the others when their calls are over; waits for none."""
        self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            _call(*item)
            # What was called with must not live on while the thread is idle.
            del item
            self._idle.release()
        # For the next thread.
        self._work.put(None)


def _call(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
