"""``loom start``, ``cancel``, ``terminate`` and ``retry``: from outside to a run."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import IO, Any, Unpack, get_args

import click

import loom
from loom.authoring.starting import ConflictPolicy, ReusePolicy
from loom.cli.application import looked_at, opened
from loom.cli.obstacles import tell_if_blocked
from loom.cli.options import (
    codecs_option,
    dsn_option,
    duration_option,
    moment_option,
    parse_json,
    tag_option,
)
from loom.cli.output import harmless, local_time, print_json
from loom.cli.retries import RetryKeywords, retry_options, retry_policy
from loom.cli.waits import wait_telling


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
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for programs: the ids, or the result."
)
@retry_options
@codecs_option
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
    as_json: bool,
    codecs: str | None,
    dsn: str | None,
    **retry: Unpack[RetryKeywords],
) -> None:
    """Start the workflow NAME. Prints the workflow id, or the result with --wait.

    When an open run has the id, and nothing else is said, that run is the one: it is told, and the
    exit code is 0. With --on-conflict fail it is 1.
    """
    if input_file is not None:
        if value is not None:
            raise click.UsageError("Give --input or --input-file, not both.")
        value = parse_json(input_file.read())

    async def run() -> None:
        async with opened(dsn, codecs=codecs) as app:
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
                retry=retry_policy(**retry),
                tags=tags,
                memo=memo,
            )
            if not handle.is_new:
                click.echo(await _told_of(handle), err=True)
            if not wait:
                print_json(_as_json(handle)) if as_json else click.echo(handle.workflow_id)
                return
            click.echo(f"Waiting for {harmless(handle.workflow_id)} ...", err=True)
            goes_on = f"{handle.workflow_id} goes on: `loom show {handle.workflow_id}` shows it."
            print_json(await wait_telling(handle.result, handle, interrupted=goes_on))

    asyncio.run(run())


async def _told_of(handle: loom.WorkflowHandle[Any]) -> str:
    """That a start has started nothing."""
    info = await handle.info()
    return (
        f"{harmless(handle.workflow_id)} is running already, since {local_time(info.created_at)} "
        f"(run {info.run_id}): nothing was started, and what was given now is not used."
    )


def _as_json(handle: loom.WorkflowHandle[Any]) -> dict[str, Any]:
    return {
        "workflow_id": handle.workflow_id,
        "run_id": handle.run_id,
        "is_new": handle.is_new,
    }


@click.command()
@click.argument("workflow_id", metavar="ID")
@click.option("--reason", default="", help="Kept in the run's history.")
@dsn_option
def cancel(workflow_id: str, reason: str, dsn: str | None) -> None:
    """Ask the workflow ID to end; its code may clean up first."""

    async def run() -> loom.WorkflowInfo:
        async with looked_at(dsn) as app:
            handle = app.handle(workflow_id)
            await handle.cancel(reason=reason)
            return await handle.info()

    info = asyncio.run(run())
    click.echo(f"Asked {harmless(workflow_id)} to cancel.")
    tell_if_blocked(info)


@click.command()
@click.argument("workflow_id", metavar="ID")
@click.option("--reason", default="", help="Kept in the run's history.")
@dsn_option
def terminate(workflow_id: str, reason: str, dsn: str | None) -> None:
    """End the workflow ID at once; its code gets no say."""

    async def run() -> None:
        async with looked_at(dsn) as app:
            await app.handle(workflow_id).terminate(reason=reason)

    asyncio.run(run())
    click.echo(f"Terminated {harmless(workflow_id)}.")


@click.command()
@click.argument("workflow_id", metavar="ID")
@dsn_option
def retry(workflow_id: str, dsn: str | None) -> None:
    """Have the workflow ID tried again at once, if it is BLOCKED."""

    async def run() -> bool:
        async with looked_at(dsn) as app:
            handle = app.handle(workflow_id)
            was_blocked = await handle.status() is loom.RunStatus.BLOCKED
            await handle.retry()
            return was_blocked

    if asyncio.run(run()):
        click.echo(f"{harmless(workflow_id)} is due: a worker that has its code tries it now.")
    else:
        click.echo(f"{harmless(workflow_id)} is not BLOCKED, so there is nothing to do.")
