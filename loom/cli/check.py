"""``loom check``: whether code can be deployed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from loom.cli.exits import Exit
from loom.cli.options import codecs_option, dsn_option, json_option

if TYPE_CHECKING:
    from loom.cli.loading import Definitions

SAMPLE: Final = 10
"""Closed runs of each workflow: where they ended, open ones may come."""


@click.command()
@click.argument("targets", metavar="MODULE[:ATTRIBUTE]...", nargs=-1, required=True)
@click.option(
    "--lint", "lints", is_flag=True, help="Read the code for what would not replay; runs nothing."
)
@click.option("--name", help="Only runs of the workflow of this name.")
@click.option("--queue", help="Only runs of this queue.")
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    metavar="N",
    help="How many closed runs of each workflow to replay as well, the newest.  [default: "
    f"{SAMPLE}]",
)
@click.option(
    "--allow-unserved", is_flag=True, help="Let pass open runs of versions that the code lacks."
)
@click.option(
    "--strict", is_flag=True, help="Fail for open runs of workflows that the code lacks as well."
)
@json_option
# As it was spelled once.
@click.option("--format", "output_format", type=click.Choice(["text", "json"]), hidden=True)
@click.option("-v", "--verbose", is_flag=True, help="Print also the runs that the code fits.")
@codecs_option
@dsn_option
@click.pass_context
def check(
    ctx: click.Context,
    targets: tuple[str, ...],
    lints: bool,
    name: str | None,
    queue: str | None,
    sample: int | None,
    allow_unserved: bool,
    strict: bool,
    as_json: bool,
    output_format: str | None,
    verbose: bool,
    codecs: str | None,
    dsn: str | None,
) -> None:
    """Check workflows before they are deployed.

    MODULE takes everything decorated in that module; MODULE:ATTRIBUTE one workflow, or a list of
    them. Ends with 1 when something was found.

    Every open run in the database, and a sample of those that have closed, is replayed against this
    code. A run that the code does not fit, that no version here serves, or that cannot be read is
    printed, with where and why. Nothing is written, and workers may go on meanwhile.

    With --lint the database is left alone: the code is searched for what differs from one replay to
    the next: clocks, chance, I/O, threads, sets that are iterated over. A finding is lifted by a
    comment in its line, `# loom: ignore[rule]`.
    """
    definitions = _loaded(targets)
    as_json = as_json or output_format == "json"
    if lints:
        if dsn or name or queue or sample is not None:
            raise click.UsageError("--lint reads code alone: it takes no database and no runs.")
        # Imported here, for it takes longer than all of `loom --help`.
        from loom.cli.lint import lint

        is_good = lint(definitions.workflows, as_json=as_json)
    else:
        from loom.cli.replay_check import Wanted, check_runs

        wanted = Wanted(
            dsn, name, queue, SAMPLE if sample is None else sample, allow_unserved, strict
        )
        is_good = asyncio.run(
            check_runs(
                definitions.workflows,
                wanted,
                codecs=codecs,
                as_json=as_json,
                verbose=verbose,
            )
        )
    if not is_good:
        ctx.exit(Exit.FAILED)


def _loaded(targets: tuple[str, ...]) -> Definitions:
    from loom.cli.loading import load

    definitions = load(targets)
    if not definitions.workflows:
        raise click.BadParameter("there is no workflow in what was named.")
    return definitions
