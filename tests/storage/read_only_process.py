"""What somebody can do with a file that is not theirs to write to: ``read_only_process.py DSN``.

Prints what came of each call. Root may write to anything, so it becomes somebody else first.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

# All that is needed later: another user may not be able to read where it is installed.
import aiosqlite  # noqa: F401

import loom
import loom.app
import loom.storage.sql.migrations
import loom.storage.sql.sqlite

NOBODY = 65534


def become_somebody_else() -> None:
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


async def main(dsn: str) -> None:
    calls: dict[str, Callable[[loom.Loom], Awaitable[Any]]] = {
        "list": lambda app: app.list(),
        "history": lambda app: app.handle("order").history(),
        "start": lambda app: app.start("Order", id="other"),
        "signal": lambda app: app.handle("order").signal("go"),
        "terminate": lambda app: app.handle("order").terminate(),
    }
    for name, call in calls.items():
        try:
            async with asyncio.timeout(20), loom.Loom(dsn) as app:
                await call(app)
            print(name, "ok")
        except loom.LoomError as error:
            print(name, type(error).__name__, error)


if __name__ == "__main__":
    become_somebody_else()
    asyncio.run(main(sys.argv[1]))
