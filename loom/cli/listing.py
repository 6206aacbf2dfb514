"""``loom list``: which runs there are."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

import loom
from loom.cli.application import opened, without_password
from loom.cli.obstacles import is_overdue
from loom.cli.options import dsn_option, json_option
from loom.cli.output import ago, as_dict, duration, print_json, print_table
from loom.history.status import RunStatus


@click.command("list")
@click.option(
    "--status",
    type=click.Choice(RunStatus, case_sensitive=False),
    help="Only runs with this status.",
)
@click.option("--name", help="Only runs of this workflow.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many at most."
)
@json_option
@dsn_option
def list_runs(
    status: RunStatus | None, name: str | None, limit: int, as_json: bool, dsn: str | None
) -> None:
    """List runs, the newest first."""

    async def fetch() -> tuple[list[loom.WorkflowInfo], str]:
        async with opened(dsn) as app:
            return await app.list(status=status, name=name, limit=limit), app.dsn

    runs, place = asyncio.run(fetch())
    if as_json:
        print_json([as_dict(run, without=["activities"]) for run in runs])
    elif runs:
        _print(runs)
    else:
        what = "no such runs" if status or name else "no runs yet"
        click.echo(f"There are {what} in {without_password(place)}.")
    if len(runs) == limit:
        click.echo(f"These are the newest {limit}; there may be more (--limit).", err=True)


def _print(runs: list[loom.WorkflowInfo]) -> None:
    headings = ["id", "workflow", "version", "status", "started", "updated", "events"]
    # Mostly all is well, and the column would only take room.
    with_waits = any(is_overdue(run.waiting_for_worker_since) for run in runs)
    rows = [
        [
            run.workflow_id,
            run.name,
            run.version,
            run.status,
            run.created_at,
            ago(run.updated_at),
            run.history_length,
        ]
        for run in runs
    ]
    if with_waits:
        headings.append("no worker for")
        for row, run in zip(rows, runs, strict=True):
            row.append(_unserved_for(run))
    print_table(headings, rows)
    if with_waits:
        click.echo("`loom show ID` tells which worker a run needs.", err=True)


def _unserved_for(run: loom.WorkflowInfo) -> str | None:
    since = run.waiting_for_worker_since
    return duration(datetime.now(UTC) - since) if since and is_overdue(since) else None
