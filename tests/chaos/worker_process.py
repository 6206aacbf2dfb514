"""A process that works until SIGTERM. Run as a script: ``worker_process.py DSN LEDGER``."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import loom
from tests.chaos.jobs import ACTIVITIES, WORKFLOWS, Place
from tests.chaos.ledger import Ledger


async def main(dsn: str, ledger: str) -> None:
    Place.ledger = Ledger(Path(ledger))
    async with loom.Loom(dsn) as app:
        worker = app.worker(workflows=WORKFLOWS, activities=ACTIVITIES)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        print("ready", flush=True)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
