"""Processes that cost next to nothing: forked by one that has imported everything already.

Thousands of them are killed here, and each would need a second to begin otherwise.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conditions import eventually

MODULE = "tests.chaos.nursery_process"
ROOT = Path(__file__).parents[2]


class Child:
    """A forked process, as its parent's parent knows it."""

    def __init__(self, nursery: Nursery, number: int) -> None:
        self._nursery = nursery
        self.number = number
        self.pid = 0
        self.is_ready = False
        self.talked: Path | None = None
        """The file that it makes when its client has nothing more to say."""
        self.exit_code: int | None = None
        """As ``os.waitstatus_to_exitcode`` has it: negative when a signal ended it."""

    async def ready(self) -> Child:
        await eventually(lambda: self.is_ready or self.has_ended, 60)
        return self

    async def ended(self, patience: float = 60) -> int:
        """Wait for its end; gives its exit code."""
        await eventually(lambda: self.has_ended, patience)
        assert self.exit_code is not None
        return self.exit_code

    @property
    def has_ended(self) -> bool:
        self._nursery.check_alive()
        return self.exit_code is not None

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.ended()

    def stop(self) -> None:
        """Ask it to end."""
        self.send(signal.SIGTERM)

    def freeze(self) -> None:
        """When this returns, none of its threads runs any more."""
        self.send(signal.SIGSTOP)
        while not self._states() <= {"T", "Z", "X"}:
            time.sleep(0.001)

    def _states(self) -> set[str]:
        """Of its threads, as the system knows them; a signal reaches one after the other."""
        states = set()
        for thread in Path(f"/proc/{self.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):
                states.add(thread.read_text().rpartition(")")[2].split()[0])
        return states

    def wake(self) -> None:
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        # Nobody else gets its number before we hear of its end: the nursery reaps it.
        if self.exit_code is None and self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Nursery:
    """Forks children on demand; use ``nursery()``."""

    def __init__(self, log: Path, shim: Path | None, tree: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LOOM_")}
        environment["PYTHONPATH"] = str(tree)
        if shim is not None:
            environment["LD_PRELOAD"] = str(shim)
        self._log = log.open("a")
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            cwd=tree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        self._children: dict[int, Child] = {}
        self._numbers = itertools.count()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def fork(self, role: str, **order: Any) -> Child:
        """A new process in that role of ``roles.py``."""
        assert self._process.stdin is not None
        child = Child(self, next(self._numbers))
        self._children[child.number] = child
        line = json.dumps({"number": child.number, "role": role, "order": order})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return child

    def check_alive(self) -> None:
        if self._process.poll() is not None:
            raise AssertionError(f"the nursery ended with {self._process.returncode}")

    def close(self) -> None:
        """End it, and all its children with it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            what, number, value = line.split()
            child = self._children.get(int(number))
            if child is None:
                continue
            if what == "forked":
                child.pid = int(value)
            elif what == "ready":
                child.is_ready = True
            elif what == "ended":
                child.exit_code = int(value)


@contextmanager
def nursery(log: Path, shim: Path | None = None, tree: Path = ROOT) -> Iterator[Nursery]:
    """A nursery, gone with all its children afterwards. What they complain of goes to a file.

    ``tree`` has the ``loom`` that they import.
    """
    opened = Nursery(log, shim, tree)
    try:
        yield opened
    finally:
        opened.close()
