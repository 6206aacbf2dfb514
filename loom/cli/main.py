"""``loom``: the command line."""

from __future__ import annotations

from importlib.metadata import version

import click

from loom.cli.check import check
from loom.cli.database import db
from loom.cli.debug import debug
from loom.cli.demo.command import demo
from loom.cli.exits import EXPLAINED, CommandGroup
from loom.cli.history import history
from loom.cli.listing import list_runs
from loom.cli.runs import cancel, retry, start, terminate
from loom.cli.scaffold import init
from loom.cli.show import show
from loom.cli.talk import query, signal, update
from loom.cli.worker import worker


@click.group(
    cls=CommandGroup,
    help="Durable workflows: run them, watch them, talk to them.",
    epilog=EXPLAINED,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(version("loom-durable"), prog_name="loom")
def cli() -> None:
    """The group of all commands."""


for command in (
    db,
    init,
    demo,
    worker,
    check,
    start,
    list_runs,
    show,
    signal,
    query,
    update,
    cancel,
    terminate,
    retry,
    history,
    debug,
):
    cli.add_command(command)


def main() -> None:
    """The entry point of the ``loom`` script."""
    cli(prog_name="loom")
