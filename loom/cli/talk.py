"""``loom signal``, ``query`` and ``update``: talking to a run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import click

import loom
from loom.cli.application import looked_at
from loom.cli.exits import CommandError, Exit
from loom.cli.obstacles import Obstacle, obstacle, tell_if_blocked
from loom.cli.options import codecs_option, dsn_option, duration_option, parse_json
from loom.cli.output import harmless, print_json
from loom.cli.waits import seconds, wait_telling


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
@codecs_option
@dsn_option
def signal(
    workflow_id: str,
    name: str,
    payload: Any,
    request_id: str | None,
    codecs: str | None,
    dsn: str | None,
) -> None:
    """Send the signal NAME to the workflow ID."""

    async def run() -> loom.WorkflowInfo:
        async with looked_at(dsn, codecs=codecs) as app:
            handle = app.handle(workflow_id)
            await handle.signal(name, payload, request_id=request_id)
            return await handle.info()

    info = asyncio.run(run())
    click.echo(f"Sent {harmless(repr(name))} to {harmless(workflow_id)}.")
    tell_if_blocked(info)


@click.command()
@click.argument("workflow_id", metavar="ID")
@click.argument("name")
@click.argument("payload", type=parse_json, metavar="[JSON]", required=False)
@_request_id_option
@duration_option("--timeout", "How long to wait for the result; by default however long it takes.")
@codecs_option
@dsn_option
def update(
    workflow_id: str,
    name: str,
    payload: Any,
    request_id: str | None,
    timeout: timedelta | None,
    codecs: str | None,
    dsn: str | None,
) -> None:
    """Send the update NAME to the workflow ID, and print its result as JSON.

    A rejected or failed one ends with exit code 1 and its reason. Waiting may be interrupted or
    time out: the update goes on, and sending it again with its --request-id gets its result. What
    keeps the run from answering is told meanwhile.
    """

    async def run() -> Any:
        async with looked_at(dsn, codecs=codecs) as app:
            handle = app.handle(workflow_id)
            sent = await handle.start_update(name, payload, request_id=request_id)
            goes_on = (
                f"The update of {workflow_id!r} goes on: send it again with --request-id "
                f"{sent.update_id} for its result."
            )
            try:
                return await wait_telling(sent.result, handle, timeout, interrupted=goes_on)
            except TimeoutError:
                raise CommandError(
                    f"workflow {workflow_id!r} has not answered the update in time. It will be "
                    f"answered yet: send it again with --request-id {sent.update_id} for that."
                ) from None

    print_json(asyncio.run(run()))


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
@duration_option("--timeout", "How long the answer may take; by default however long it takes.")
@codecs_option
@dsn_option
def query(
    workflow_id: str,
    name: str,
    payload: Any,
    targets: tuple[str, ...],
    timeout: timedelta | None,
    codecs: str | None,
    dsn: str | None,
) -> None:
    """Ask the workflow ID the query NAME, and print the answer as JSON.

    Its history is replayed here, with the code of MODULE; nothing is written, and no worker needs
    to be there, but for a run that none has begun.
    """
    # Imported here, for it takes longer than all of `loom --help`.
    from loom.authoring.registry import Registry
    from loom.cli.loading import load

    registry = Registry(load(targets).workflows)

    async def run() -> Any:
        async with looked_at(dsn, codecs=codecs) as app:
            info = await app.handle(workflow_id).info()
            code = registry.workflow(info.name, info.version)
            if code is None:
                raise _not_defined(info)
            handle = app.handle(workflow_id, run_id=info.run_id, workflow=code.cls)
            try:
                async with asyncio.timeout(seconds(timeout)):
                    return await handle.query(name, payload)
            except (TimeoutError, loom.QueryError) as error:
                raise _unanswered(workflow_id, error, obstacle(await handle.info())) from error

    print_json(asyncio.run(run()))


def _unanswered(workflow_id: str, error: Exception, kept_up: Obstacle | None) -> CommandError:
    if isinstance(error, TimeoutError):
        what = f"workflow {workflow_id!r} has not answered in time"
        return CommandError(f"{what}: {kept_up}." if kept_up else f"{what}.")
    needs = f" It needs {kept_up.needs}." if kept_up and kept_up.needs else ""
    return CommandError(f"{error}{'' if isinstance(error, loom.QueryFailedError) else needs}")


def _not_defined(info: loom.WorkflowInfo) -> CommandError:
    return CommandError(
        f"workflow {info.workflow_id!r} is a run of {info.name!r} in version {info.version!r}, "
        "which the given modules do not define.",
        Exit.USAGE,
    )
