"""``python -m examples.ingest [FOLDER]``: the whole job in one process.

Interrupt it, or kill it, and run it again: it goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import warnings
from pathlib import Path

import loom

from . import activities, index
from .files import standard_library
from .job import Job
from .workflow import Ingest


async def main(job: Job) -> None:
    """Runs the job, or takes it up again, and prints what came of it."""
    dsn = os.environ.get("LOOM_DSN") or f"sqlite:///{job.output / 'loom.db'}"
    async with loom.Loom(dsn) as app, app.worker(workflows=[Ingest], activities=activities.ALL):
        handle = await app.start(Ingest, job, id=f"ingest {job.folder}")
        print(f"Indexing {job.folder} into {job.index} ...")
        summary = await handle.result()
    for name, reason in index.failures(job.index).items():
        print(f"failed: {name}: {reason}")
    print(
        f"{summary.indexed} files indexed, {summary.failed} failed: {summary.lines:,} lines, ",
        end="",
    )
    print(f"{summary.words:,} words, {summary.definitions:,} functions and classes.")


def _job() -> Job:
    parser = argparse.ArgumentParser(prog="examples.ingest", description="Index a folder of text.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=standard_library(),
        help="what to index; by default the sources of the Python standard library",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=Path("ingested"), help="where to put the index"
    )
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"there is no folder {arguments.folder}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    return Job(arguments.folder.resolve(), arguments.output.resolve())


if __name__ == "__main__":
    # The files are other people's code: their odd escapes are nothing to warn of.
    warnings.simplefilter("ignore", SyntaxWarning)
    asyncio.run(main(_job()))
