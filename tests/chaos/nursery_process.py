"""The process that forks children: ``python -m tests.chaos.nursery_process``.

Each line of its input orders one child. It tells on its output who was forked, is ready, has ended.
It has no thread and no event loop: what is forked must be as new.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import traceback

# All that children need is imported once, here.
import aiosqlite  # noqa: F401
import asyncpg  # noqa: F401

import loom.app
import loom.runner.processes
import loom.storage.sql.migrations
import loom.storage.sql.postgres
import loom.storage.sql.sqlite
import loom.worker
from tests.chaos.roles import ROLES


def tell(what: str, number: int, value: int = 0) -> None:
    os.write(1, f"{what} {number} {value}\n".encode())


def main() -> None:
    # Of the release that was asked for.
    assert os.path.dirname(os.path.dirname(loom.__file__)) == os.environ["PYTHONPATH"]
    numbers: dict[int, int] = {}
    rest = b""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if 0 in ready:
                received = os.read(0, 65536)
                if not received:
                    # Whoever ordered them is gone, and so shall they be.
                    os.killpg(0, signal.SIGKILL)
                *lines, rest = (rest + received).split(b"\n")
                for line in lines:
                    fork(json.loads(line), numbers)
            if wake_read in ready:
                os.read(wake_read, 4096)
            reap(numbers)


def fork(line: dict[str, object], numbers: dict[int, int]) -> None:
    number = int(str(line["number"]))
    pid = os.fork()
    if pid == 0:
        live(number, str(line["role"]), line["order"])
    numbers[pid] = number
    tell("forked", number, pid)


def live(number: int, role: str, order: object) -> None:
    """A child's life. Never returns."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    code = 1
    try:
        ROLES[role](order, lambda: tell("ready", number))
        code = 0
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def reap(numbers: dict[int, int]) -> None:
    while numbers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        if pid in numbers:
            tell("ended", numbers.pop(pid), os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
