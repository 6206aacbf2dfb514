"""``loom history``: runs' histories into files, and back into a database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

import loom
from loom.cli.application import looked_at, opened
from loom.cli.options import dsn_option
from loom.cli.output import harmless
from loom.history.status import RunStatus

type Writer = Callable[[loom.RunHistory], None]


@click.group()
def history() -> None:
    """Take the histories of runs out of a database, and put them into another."""


# --- export --------------------------------------------------------------------------------------


@history.command()
@click.argument("workflow_id", metavar="[ID]", required=False)
@click.option("--run-id", help="An older run with this id; by default the newest.")
@click.option("--all", "every", is_flag=True, help="All runs, instead of the one with an ID.")
@click.option("--all-open", is_flag=True, help="All open runs, instead of the one with an ID.")
@click.option("--name", help="Of all runs only those of this workflow.")
@click.option(
    "--status",
    type=click.Choice(RunStatus, case_sensitive=False),
    help="Of all runs only those with this status.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A file; for several runs a folder, which gets a file for each. By default all is "
    "printed, several runs as one line each.",
)
@dsn_option
def export(
    workflow_id: str | None,
    run_id: str | None,
    every: bool,
    all_open: bool,
    name: str | None,
    status: RunStatus | None,
    output: Path | None,
    dsn: str | None,
) -> None:
    """Write the history of the workflow ID as JSON.

    It holds the run's payloads, as they are stored: with an encrypting codec they stay encrypted.
    With --all or --all-open the histories of many runs are written; a FILE.jsonl gets one a line.
    """
    if (workflow_id is None) != (every or all_open):
        raise click.UsageError("Give the ID of a workflow, or else --all or --all-open.")
    if workflow_id is not None:
        if name or status:
            raise click.UsageError("--name and --status are for --all and --all-open.")
        _write_one(asyncio.run(_exported(workflow_id, run_id, dsn)), output)
        return
    if run_id:
        raise click.UsageError("--run-id is for the run with an ID.")
    if output is not None and output.suffix == ".json" and not output.is_dir():
        raise click.UsageError(
            f"Many runs go into a folder, or one a line into a FILE.jsonl: {output} is neither."
        )
    with _writer(output) as write:
        count = asyncio.run(_export_many(True if all_open else None, name, status, write, dsn))
    if output is not None:
        click.echo(f"Exported {count} run{'s' * (count != 1)} to {output}.", err=True)


async def _exported(workflow_id: str, run_id: str | None, dsn: str | None) -> loom.RunHistory:
    async with looked_at(dsn) as app:
        return await app.handle(workflow_id, run_id=run_id).export()


def _write_one(found: loom.RunHistory, output: Path | None) -> None:
    if output is None:
        click.echo(harmless(found.to_json()), nl=False)
        return
    with _explained(output):
        output.write_text(found.to_json(), encoding="utf-8")
    events = len(found.events)
    click.echo(f"Exported {events} event{'s' * (events != 1)} to {output}.", err=True)


async def _export_many(
    is_open: bool | None,
    name: str | None,
    status: RunStatus | None,
    write: Writer,
    dsn: str | None,
) -> int:
    count = 0
    async with looked_at(dsn) as app:
        async for found in app.histories(open=is_open, name=name, status=status):
            write(found)
            count += 1
    return count


@contextmanager
def _writer(output: Path | None) -> Iterator[Writer]:
    """Writes one history after the other: out, into lines of a file, or into files of a folder."""
    if output is None:
        yield lambda found: click.echo(harmless(found.to_json_line()), nl=False)
        return
    with _explained(output):
        if output.suffix == ".jsonl":
            with output.open("w", encoding="utf-8") as file:
                yield lambda found: print(found.to_json_line(), end="", file=file)
            return
        output.mkdir(parents=True, exist_ok=True)
        yield lambda found: _write_into(output, found)


def _write_into(folder: Path, found: loom.RunHistory) -> None:
    # Of the workflow id what any file system takes; the run id alone tells them apart.
    readable = re.sub(r"[^\w.-]", "_", found.workflow_id)[:80]
    path = folder / f"{readable}-{found.run_id}.json"
    path.write_text(found.to_json(), encoding="utf-8")


# --- import --------------------------------------------------------------------------------------


@history.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "new_id", metavar="NEW_ID", help="Another workflow id, for a single run.")
@click.option(
    "--open",
    "stays_open",
    is_flag=True,
    help="Leave open runs open: workers go on with them, and run their activities once more.",
)
@dsn_option
def import_(file: Path, new_id: str | None, stays_open: bool, dsn: str | None) -> None:
    """Put the runs of FILE, which `loom history export` has written, into a database.

    FILE may hold one run, or one in each line, or be a folder of such files. A run keeps its ids;
    one that is in the database already is refused. An open run is terminated there, so that no
    worker goes on with it, unless --open is given.
    """
    from loom.runner.histories import read_histories_from

    async def run() -> None:
        async with opened(dsn) as app:
            for number, each in enumerate(read_histories_from(file), start=1):
                if new_id is not None and number > 1:
                    raise click.UsageError(f"{file} holds several runs, which one id cannot name.")
                handle = await app.import_history(each, id=new_id, open=stays_open)
                click.echo(_imported(each, handle, stays_open))

    with _explained(file):
        asyncio.run(run())


def _imported(found: loom.RunHistory, handle: loom.WorkflowHandle[object], stays_open: bool) -> str:
    events = f"{len(found.events)} event{'s' * (len(found.events) != 1)}"
    was = found.status
    if was.is_open:
        was_left = (
            "a worker goes on with it" if stays_open else "it was open, and is TERMINATED here"
        )
        return f"Imported {handle.workflow_id} ({events}): {was_left}."
    return f"Imported {handle.workflow_id} ({events}): {was}."


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What is wrong with a file is no bug of anybody's program."""
    try:
        yield
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror or error}.") from error
