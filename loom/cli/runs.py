"""``loom start``, ``cancel`` and ``terminate``: from outside to a run."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import IO, Any, Final, get_args

import click

import loom
from loom.authoring.starting import ConflictPolicy, ReusePolicy
from loom.cli.application import opened
from loom.cli.obstacles import obstacle
from loom.cli.options import dsn_option, duration_option, moment_option, parse_json, tag_option
from loom.cli.output import harmless, print_json

_PATIENCE: Final = 3.0  # seconds between two looks at what a run is kept up by


@click.command()
@click.argument("name")
@click.option("--input", "value", type=parse_json, metavar="JSON", help="The workflow's input.")
@click.option("--input-file", type=click.File("rb"), help="A file with the input; - reads stdin.")
@click.option("--id", "workflow_id", help="The workflow id; one is made if not given.")
@click.option("--queue", default="default", show_default=True, help="Which workers shall run it.")
@click.option("--version", default="1", show_default=True, help="The workflow's version.")
@click.option(
    "--on-conflict",
    type=click.Choice(get_args(ConflictPolicy.__value__)),
    default="use_existing",
    show_default=True,
    help="When an open run has the id: take it for the one that was asked for, fail, or "
    "terminate it.",
)
@click.option(
    "--reuse",
    type=click.Choice(get_args(ReusePolicy.__value__)),
    default="allow",
    show_default=True,
    help="Whether an id may be used again when its last run has ended.",
)
@click.option(
    "--idempotency-key",
    metavar="TEXT",
    help="Started again with the same key, it is the same run, even when it has ended.",
)
@duration_option("--delay", "Begin so much later, as 90, 90s, 5m, 2h or 1d.")
@moment_option("--start-at", "Begin at that moment.")
@duration_option("--run-timeout", "How long the run may take.")
@duration_option("--execution-timeout", "How long it and all that continue it may take.")
@tag_option("A tag to find the run by; may be given again.")
@click.option("--memo", type=parse_json, metavar="JSON", help="A note to keep beside the run.")
@click.option("--wait", is_flag=True, help="Wait for the end, and print the result as JSON.")
@dsn_option
def start(
    name: str,
    value: Any,
    input_file: IO[bytes] | None,
    workflow_id: str | None,
    queue: str,
    version: str,
    on_conflict: ConflictPolicy,
    reuse: ReusePolicy,
    idempotency_key: str | None,
    delay: timedelta | None,
    start_at: datetime | None,
    run_timeout: timedelta | None,
    execution_timeout: timedelta | None,
    tags: dict[str, loom.TagValue],
    memo: Any,
    wait: bool,
    dsn: str | None,
) -> None:
    """Start the workflow NAME. Prints the workflow id, or the result with --wait."""
    if input_file is not None:
        if value is not None:
            raise click.UsageError("Give --input or --input-file, not both.")
        value = parse_json(input_file.read())

    async def run() -> None:
        async with opened(dsn) as app:
            handle = await app.start(
                name,
                value,
                id=workflow_id,
                queue=queue,
                version=version,
                on_conflict=on_conflict,
                reuse=reuse,
                idempotency_key=idempotency_key,
                delay=delay,
                start_at=start_at,
                run_timeout=run_timeout,
                execution_timeout=execution_timeout,
                tags=tags,
                memo=memo,
            )
            if not wait:
                click.echo(handle.workflow_id)
                return
            click.echo(f"Waiting for {handle.workflow_id} ...", err=True)
            print_json(await _result_of(handle))

    asyncio.run(run())


async def _result_of(handle: loom.WorkflowHandle[Any]) -> Any:
    """Waits for the result, and tells on the way what keeps the run from having one."""
    told = None
    while True:
        try:
            return await handle.result(timeout=_PATIENCE)
        except TimeoutError:
            known = obstacle(await handle.info())
            if known not in (None, told):
                click.echo(f"Still waiting: {harmless(str(known))}", err=True)
            told = known


@click.command()
@click.argument("workflow_id", metavar="ID")
@click.option("--reason", default="", help="Kept in the run's history.")
@dsn_option
def cancel(workflow_id: str, reason: str, dsn: str | None) -> None:
    """Ask the workflow ID to end; its code may clean up first."""

    async def run() -> None:
        async with opened(dsn) as app:
            await app.handle(workflow_id).cancel(reason=reason)

    asyncio.run(run())
    click.echo(f"Asked {workflow_id} to cancel.")


@click.command()
@click.argument("workflow_id", metavar="ID")
@click.option("--reason", default="", help="Kept in the run's history.")
@dsn_option
def terminate(workflow_id: str, reason: str, dsn: str | None) -> None:
    """End the workflow ID at once; its code gets no say."""

    async def run() -> None:
        async with opened(dsn) as app:
            await app.handle(workflow_id).terminate(reason=reason)

    asyncio.run(run())
    click.echo(f"Terminated {workflow_id}.")
