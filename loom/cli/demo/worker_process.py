"""A real ``loom worker`` in a process of its own, to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from loom.cli.demo.example import Example
from loom.cli.exits import CommandError

_STOP_SECONDS = 10


class WorkerProcess:
    """A worker that serves the example, and writes what it says to a file."""

    def __init__(self, example: Example, dsn: str, queue: str, log: Path) -> None:
        self._log = log
        modules = [f"{example.package}.{name}" for name in ("workflow", "activities")]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loom.cli", "worker", "--queue", queue, *modules],
                env=_environment(example, dsn),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises ``CommandError`` when the worker ended by itself."""
        if (code := self._process.poll()) is not None:
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
            raise CommandError(
                f"worker {self.pid} ended by itself with exit code {code}: {''.join(last)} "
                f"(all it said is in {self._log})"
            )

    def kill(self) -> None:
        """Ends the process as a crash would: at once and without its having a say."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stops the worker gracefully, or kills it when it does not."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


def _environment(example: Example, dsn: str) -> dict[str, str]:
    path = [str(example.folder or ""), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "LOOM_DSN": dsn,
        # By default a dead worker is waited for much longer; nobody watching a demo wants to.
        "LOOM_LEASE_SECONDS": "2",
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        # The files are other people's code: their odd escapes are nothing to warn of.
        "PYTHONWARNINGS": "ignore",
    }
