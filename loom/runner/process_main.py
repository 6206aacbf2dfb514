"""What runs in a process of activities: one call after the other, until there are no more.

Each call comes as a pickled request through a pipe; what it says, and how it ends, goes back the
same way. When the worker's process dies, this one ends with it.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

from loom.authoring.activity import activity_definition
from loom.authoring.activity_info import (
    CURRENT_ACTIVITY,
    HEARTBEAT,
    ActivityInfo,
    AttemptAccess,
)
from loom.errors import LoomError
from loom.history.payloads import PayloadConverter


@dataclass(frozen=True, slots=True)
class Request:
    """One call. The function travels as the place where it can be imported."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    info: ActivityInfo
    task_token: str | None
    details: bytes | None


@dataclass(frozen=True, slots=True)
class Beat:
    details: bytes | None


@dataclass(frozen=True, slots=True)
class Returned:
    result: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """``error`` is what could be sent of it: itself, or text."""

    error: BaseException
    traceback: str


def serve(connection: Connection) -> None:
    """Answer requests until the pipe is closed."""
    # Whoever presses Ctrl-C means the worker, which ends its activities as it sees fit.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            data = connection.recv_bytes()
        except EOFError:
            return
        way_back = _WayBack(connection)
        way_back.end(_answer(data, way_back))


class _WayBack:
    """What one call says, from whichever of its threads: one message after the other, and nothing
    after its end, when the pipe is the next call's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._has_ended = False

    def beat(self, details: bytes | None) -> None:
        with self._lock:
            if not self._has_ended:
                self._connection.send_bytes(pickle.dumps(Beat(details)))

    def end(self, answer: bytes) -> None:
        with self._lock:
            self._has_ended = True
            self._connection.send_bytes(answer)


def _answer(data: bytes, way_back: _WayBack) -> bytes:
    try:
        request: Request = pickle.loads(data)
        access = _PipeAccess(way_back, request)
        info = request.info
        told = ActivityInfo(
            info.activity,
            info.workflow_id,
            info.run_id,
            info.activity_id,
            info.attempt,
            info.failures,
            access,
        )
        CURRENT_ACTIVITY.set(told)
        result = activity_definition(request.function).call(request.arguments)
        return pickle.dumps(Returned(result))
    except StopIteration as error:
        # A future cannot carry it.
        return _raised(RuntimeError(f"The activity raised StopIteration: {error}"))
    except BaseException as error:
        return _raised(error)


def _raised(error: BaseException) -> bytes:
    text = "".join(traceback.format_exception(error))
    error.__traceback__ = None
    try:
        data = pickle.dumps(Raised(error, text))
        pickle.loads(data)
    except Exception:
        # Not every exception survives being sent.
        told = RuntimeError(f"{type(error).__name__}: {error}")
        return pickle.dumps(Raised(told, text))
    return data


class _PipeAccess(AttemptAccess):
    """What the code of one call reaches of the worker."""

    cancelled = False
    # One that is cancelled is killed.

    def __init__(self, way_back: _WayBack, request: Request) -> None:
        self._way_back = way_back
        self._token = request.task_token
        self._details = request.details
        self._converter = PayloadConverter()

    @property
    def task_token(self) -> str:
        if self._token is None:
            raise LoomError("A local activity has no task, and so no token.")
        return self._token

    def heartbeat(self, details: Any) -> None:
        self._way_back.beat(
            None if details is None else self._converter.encode(details, Any, HEARTBEAT)
        )

    def heartbeat_details(self, declared: Any) -> Any:
        details = self._details
        return None if details is None else self._converter.decode(details, declared, HEARTBEAT)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
