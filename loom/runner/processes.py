"""Processes for activities: each call has one to itself, used again when it is over."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from loom.errors import LoomError
from loom.runner.process_main import Beat, Raised, Request, Returned, serve

_SPAWN = multiprocessing.get_context("spawn")
"""A forked process would share the worker's connections and locks, whatever state they are in."""

_JOIN = 5.0
"""Seconds."""


class ActivityProcesses:
    """The idle processes of a worker. It has no limit of its own: the worker counts its slots."""

    def __init__(self) -> None:
        self._idle: list[_Process] = []
        self._lock = threading.Lock()
        self._closed = False

    def take(self) -> _Process:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.is_alive:
                    return process
                process.kill()
        return _Process()

    def give_back(self, process: _Process) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.kill()

    def close(self) -> None:
        """End the idle ones, and the others when their calls are over."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.kill()


class ProcessCall:
    """One call in a process. ``run`` blocks, and belongs into a thread; ``kill`` ends it from any
    other."""

    def __init__(
        self,
        processes: ActivityProcesses,
        request: Request,
        on_heartbeat: Callable[[bytes | None], None],
    ) -> None:
        self._processes = processes
        self._request = request
        self._on_heartbeat = on_heartbeat
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._killed = False

    def run(self) -> Any:
        """What the call returns; raises what it raises, and ``LoomError`` when the process ends
        before the call does."""
        data = pickle.dumps(self._request)
        process = self._processes.take()
        with self._lock:
            self._process = process
            killed = self._killed
        try:
            if killed:
                raise LoomError("The call was cancelled before it began.")
            answer = self._answer(process, data)
        except BaseException:
            process.kill()
            raise
        finally:
            with self._lock:
                # From here on the process may have another call, unless it is being killed.
                self._process = None
                killed = self._killed
        if killed:
            process.kill()
        else:
            self._processes.give_back(process)
        if isinstance(answer, Raised):
            raise answer.error from _Remote(answer.traceback)
        return answer.result

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill_soon()

    def _answer(self, process: _Process, data: bytes) -> Returned | Raised:
        """How the call ended; raises when it did not, and the process is of no use any more."""
        try:
            process.connection.send_bytes(data)
            while isinstance(answer := process.receive(), Beat):
                self._on_heartbeat(answer.details)
        except (EOFError, OSError) as error:
            raise process.death() from error
        return answer


class _Process:
    """A process that waits for calls."""

    connection: Connection

    def __init__(self) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=serve, args=(theirs,), name="loom-activity", daemon=True
        )
        try:
            self._process.start()
        finally:
            theirs.close()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def receive(self) -> Beat | Returned | Raised:
        said: Beat | Returned | Raised = pickle.loads(self.connection.recv_bytes())
        return said

    def kill_soon(self) -> None:
        self._process.kill()

    def kill(self) -> None:
        """End it and everything that belongs to it."""
        self._process.kill()
        self._process.join(_JOIN)
        self.connection.close()

    def death(self) -> LoomError:
        self._process.join(_JOIN)
        code = self._process.exitcode
        return LoomError(
            f"The process of the activity ended with code {code} before the activity did. If it is "
            "1 at every try, the program may lack `if __name__ == '__main__':` around what starts "
            "it: every process of activities imports it anew."
        )


class _Remote(Exception):
    """Where in the process an exception came from, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    def __str__(self) -> str:
        return f"\n{self.args[0]}"
