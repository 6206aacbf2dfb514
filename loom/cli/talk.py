"""``loom signal``, ``query`` and ``update``: talking to a run."""

from __future__ import annotations

import asyncio
from typing import Any

import click

import loom
from loom.cli.application import opened
from loom.cli.exits import CommandError, Exit
from loom.cli.options import dsn_option, parse_json
from loom.cli.output import print_json


def _request_id_option[F: Any](command: F) -> F:
    """Adds ``--request-id``."""
    option = click.option(
        "--request-id", metavar="TEXT", help="What is sent again with the same one counts once."
    )
    decorated: F = option(command)
    return decorated


@click.command()
@click.argument("workflow_id", metavar="ID")
@click.argument("name")
@click.option("--payload", type=parse_json, metavar="JSON", help="What the signal carries.")
@_request_id_option
@dsn_option
def signal(
    workflow_id: str, name: str, payload: Any, request_id: str | None, dsn: str | None
) -> None:
    """Send the signal NAME to the workflow ID."""

    async def run() -> None:
        async with opened(dsn) as app:
            await app.handle(workflow_id).signal(name, payload, request_id=request_id)

    asyncio.run(run())
    click.echo(f"Sent {name!r} to {workflow_id}.")


@click.command()
@click.argument("workflow_id", metavar="ID")
@click.argument("name")
@click.argument("payload", type=parse_json, metavar="[JSON]", required=False)
@_request_id_option
@dsn_option
def update(
    workflow_id: str, name: str, payload: Any, request_id: str | None, dsn: str | None
) -> None:
    """Send the update NAME to the workflow ID, and print its result as JSON.

    A rejected or failed one ends with exit code 1 and its reason. Waiting may be interrupted: the
    update goes on, and sending it again with its --request-id gets its result.
    """

    async def run() -> None:
        async with opened(dsn) as app:
            handle = app.handle(workflow_id)
            print_json(await handle.update(name, payload, request_id=request_id))

    asyncio.run(run())


@click.command()
@click.argument("workflow_id", metavar="ID")
@click.argument("name")
@click.argument("payload", type=parse_json, metavar="[JSON]", required=False)
@click.option(
    "--module",
    "-m",
    "targets",
    multiple=True,
    required=True,
    metavar="MODULE",
    help="Where the workflow's code is, as module or module:name. May be given again.",
)
@dsn_option
def query(
    workflow_id: str, name: str, payload: Any, targets: tuple[str, ...], dsn: str | None
) -> None:
    """Ask the workflow ID the query NAME, and print the answer as JSON.

    Its history is replayed here, with the code of MODULE; nothing is written.
    """
    # Imported here, for it takes longer than all of `loom --help`.
    from loom.authoring.registry import Registry
    from loom.cli.loading import load

    registry = Registry(load(targets).workflows)

    async def run() -> None:
        async with opened(dsn) as app:
            info = await app.handle(workflow_id).info()
            code = registry.workflow(info.name, info.version)
            if code is None:
                raise _not_defined(info)
            handle = app.handle(workflow_id, run_id=info.run_id, workflow=code.cls)
            print_json(await handle.query(name, payload))

    asyncio.run(run())


def _not_defined(info: loom.WorkflowInfo) -> CommandError:
    return CommandError(
        f"workflow {info.workflow_id!r} is a run of {info.name!r} in version {info.version!r}, "
        "which the given modules do not define.",
        Exit.USAGE,
    )
