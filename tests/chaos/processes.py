"""Worker processes that tests start, kill, freeze and wake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).with_name("worker_process.py")


class WorkerProcess:
    """One process with one worker, on a database and a ledger."""

    def __init__(self, dsn: str, ledger: Path, **settings: object) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LOOM_")}
        environment |= {f"LOOM_{name.upper()}": str(value) for name, value in settings.items()}
        environment["PYTHONPATH"] = str(SCRIPT.parents[2])
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), dsn, str(ledger)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == "ready\n", f"the worker process has ended: {line}"

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """When this returns, none of its threads runs any more."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def wake(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self, patience: float = 20) -> int:
        """Ask it to end; returns its exit code."""
        self._process.terminate()
        return self._process.wait(patience)

    def end(self) -> None:
        """Be rid of it, whatever state it is in."""
        if self.is_alive:
            self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def worker_processes(
    count: int, dsn: str, ledger: Path, **settings: object
) -> Iterator[list[WorkerProcess]]:
    """That many worker processes, ready for work and gone afterwards."""
    workers = [WorkerProcess(dsn, ledger, **settings) for _ in range(count)]
    try:
        for worker in workers:
            worker.wait_until_ready()
        yield workers
    finally:
        for worker in workers:
            worker.end()
