"""``loom worker``: a process that does the work."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

import loom
from loom.cli.exits import Exit
from loom.cli.options import codecs_option, dsn_option

if TYPE_CHECKING:
    from loom.cli.loading import Definitions

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@click.command()
@click.argument("targets", metavar="MODULE[:ATTRIBUTE]...", nargs=-1, required=True)
@click.option("--queue", default="default", show_default=True, help="Which queue to serve.")
@click.option(
    "--concurrency",
    type=click.IntRange(min=1, max=1_000_000),
    help="How many activities to run at a time.",
)
@codecs_option
@dsn_option
def worker(
    targets: tuple[str, ...],
    queue: str,
    concurrency: int | None,
    codecs: str | None,
    dsn: str | None,
) -> None:
    """Work on workflows and activities until told to stop.

    MODULE takes everything decorated in that module; MODULE:ATTRIBUTE one workflow or activity, or
    a list of them. Modules are looked for in the current directory first.

    SIGTERM or Ctrl-C stops gracefully: unfinished work is handed back, for any worker to take. A
    second one exits at once.
    """
    # Imported here, for it takes longer than all of `loom --help`.
    from loom.cli.loading import load, load_codecs

    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    asyncio.run(_serve(load(targets), queue, concurrency, load_codecs(codecs), dsn))


async def _serve(
    definitions: Definitions,
    queue: str,
    concurrency: int | None,
    codecs: Sequence[loom.PayloadCodec],
    dsn: str | None,
) -> None:
    async with loom.Loom(dsn, codecs=codecs) as app:
        worker = app.worker(
            workflows=definitions.workflows,
            activities=definitions.activities,
            queue=queue,
            concurrency=concurrency,
        )
        with _stopped_by_signals(worker):
            click.echo(_greeting(definitions, queue), err=True)
            await worker.run()
    click.echo("Stopped.", err=True)


def _greeting(definitions: Definitions, queue: str) -> str:
    workflows, activities = len(definitions.workflows), len(definitions.activities)
    return (
        f"Worker {os.getpid()} serves the queue {queue!r}: "
        f"{workflows} workflow{'s' * (workflows != 1)}, "
        f"{activities} activit{'y' if activities == 1 else 'ies'}. Ctrl-C stops it."
    )


@contextmanager
def _stopped_by_signals(worker: loom.Worker) -> Iterator[None]:
    """The first signal stops the worker gracefully, the second ends the process."""
    loop = asyncio.get_running_loop()
    asked = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(Exit.INTERRUPTED)
        asked = True
        loop.call_soon_threadsafe(worker.stop)

    # Not add_signal_handler: that waits for the event loop, which user code may be blocking.
    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
