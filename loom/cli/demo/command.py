"""The ``demo`` command: sets the stage, plays, reports and clears up."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loom.cli.demo.example import find_example
from loom.cli.demo.report import print_counts, print_timeline, problems
from loom.cli.demo.screen import Screen
from loom.cli.demo.story import Story
from loom.cli.exits import CommandError

if TYPE_CHECKING:
    from examples.ingest.audit import Audit


@click.command()
@click.argument(
    "folder",
    required=False,
    type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True),
)
@click.option(
    "--dsn",
    metavar="DSN",
    help="The database. By default a SQLite file in a temporary directory, whatever LOOM_DSN says.",
)
@click.option("--keep", is_flag=True, help="Keep the databases, the ledger and the workers' log.")
@click.option(
    "--kill-after",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="FRACTION",
    help="The part of the files after which to kill; by default random, from 0.1 to 0.8.",
)
def demo(folder: Path | None, dsn: str | None, keep: bool, kill_after: float | None) -> None:
    """See a run survive the death of its worker.

    Indexes the text files of FOLDER, by default those of the Python standard library, with a
    worker process that is killed in the middle. Another takes over. Then every file is counted.
    """
    example = find_example()
    folder = folder or example.module("files").standard_library()
    expected = frozenset(example.module("files").text_files(folder))
    if not expected:
        raise click.UsageError(f"There are no text files in {folder}; name another folder.")
    if dsn:
        asyncio.run(_prepare(dsn))
    kill_at = max(1, int(len(expected) * (kill_after or random.uniform(0.1, 0.8))))
    with _kept_on_failure() as directory:
        click.echo(f"Indexing the {len(expected):,} text files of {folder}, in {directory}")
        place = dsn or f"sqlite:///{directory / 'loom.db'}"
        job = example.module("job").Job(folder, output=directory)
        story = Story(example, place, job, Screen(len(expected)), kill_at)
        _report(asyncio.run(story.play()), story, expected)
    hint = f"loom show {story.workflow_id} --history --dsn {'...' if dsn else place}"
    _clear_up(directory, keep, hint)


def _report(audit: Audit, story: Story, expected: frozenset[str]) -> None:
    print_timeline(story.screen.moments)
    print_counts(audit, story.killed)
    if wrong := problems(audit, expected):
        raise CommandError("the counts are wrong. " + "; ".join(wrong))
    click.echo("\nNothing was lost, and nothing that was recorded ran again.")


async def _prepare(dsn: str) -> None:
    """Makes the schema on a Postgres that has none; SQLite files get theirs on first use."""
    if dsn.startswith("memory:"):
        raise click.UsageError("The demo needs a database that several processes can share.")
    if dsn.startswith("postgres"):
        from loom.storage.sql import migrations

        if await migrations.current(dsn) is None:
            click.echo("The database has no schema yet; making it, as `loom db upgrade` does.")
            await migrations.upgrade(dsn)


@contextmanager
def _kept_on_failure() -> Iterator[Path]:
    """A temporary directory; whatever goes wrong, it stays and is told of."""
    directory = Path(tempfile.mkdtemp(prefix="loom-demo-"))
    try:
        yield directory
    except BaseException:
        click.echo(f"\nEverything is kept in {directory}.", err=True)
        raise


def _clear_up(directory: Path, keep: bool, look: str) -> None:
    if keep:
        click.echo(f"Everything is kept in {directory}. Look around with: {look}")
    else:
        shutil.rmtree(directory)
        click.echo(f"{directory} is removed; --keep would keep it.")
