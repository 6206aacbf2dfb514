"""``loom debug``: a run's history, replayed here and stepped through."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

import loom
from loom.cli.application import looked_at
from loom.cli.exits import Exit
from loom.cli.options import codecs_option, dsn_option


@click.command()
@click.argument("arguments", metavar="[ID] MODULE[:ATTRIBUTE]...", nargs=-1, required=True)
@click.option("--run-id", help="An older run with this id; by default the newest.")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="An exported history, instead of a run of the database and its ID.",
)
@click.option(
    "--at",
    type=click.IntRange(min=1),
    metavar="EVENT",
    default=1,
    help="Stop before this event; by default at the workflow's first line.",
)
@codecs_option
@dsn_option
@click.pass_context
def debug(
    ctx: click.Context,
    arguments: tuple[str, ...],
    run_id: str | None,
    file: Path | None,
    at: int,
    codecs: str | None,
    dsn: str | None,
) -> None:
    """Step through the workflow ID under pdb, with the code of MODULE.

    The run's history is read once and replayed in this process: nothing is leased, written or run
    anew, so that it can be done to a run in production and as often as you like. Each arrival is
    printed when it is delivered, and the debugger stops in your own code alone.

    `n` steps over a line, an `await` too: what happens to the run meanwhile is printed. `s` steps
    in, `b` sets a breakpoint, `c` goes on, `q` ends.
    """
    # Imported here, for it takes longer than all of `loom --help`.
    from loom.authoring.registry import Registry
    from loom.cli.debug_session import DebugSession
    from loom.cli.loading import load, load_codecs

    workflow_id, targets = _split(arguments, run_id, file)
    registry = Registry(load(targets).workflows)
    history = _read(workflow_id, run_id, file, dsn)
    if not DebugSession(history, registry, load_codecs(codecs), at).run():
        ctx.exit(Exit.FAILED)


def _split(
    arguments: tuple[str, ...], run_id: str | None, file: Path | None
) -> tuple[str, tuple[str, ...]]:
    if file is not None:
        if run_id:
            raise click.UsageError("--run-id is for a run of the database.")
        return "", arguments
    workflow_id, *targets = arguments
    if not targets:
        raise click.UsageError("Give the ID of a workflow and the MODULE of its code.")
    return workflow_id, tuple(targets)


def _read(
    workflow_id: str, run_id: str | None, file: Path | None, dsn: str | None
) -> loom.RunHistory:
    from loom.runner.histories import read_history_from

    if file is None:
        return asyncio.run(_fetched(workflow_id, run_id, dsn))
    try:
        return read_history_from(file)
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror or error}.") from error


async def _fetched(workflow_id: str, run_id: str | None, dsn: str | None) -> loom.RunHistory:
    async with looked_at(dsn) as app:
        return await app.handle(workflow_id, run_id=run_id).export()
