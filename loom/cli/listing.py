"""``loom list``: which runs there are."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Unpack

import click

import loom
from loom.cli.application import looked_at, without_password
from loom.cli.obstacles import is_overdue
from loom.cli.options import codecs_option, dsn_option, json_option, moment_option, tag_option
from loom.cli.output import ago, as_dict, duration, print_json, print_table, tags_in_short
from loom.filters import FilterKeywords
from loom.history.status import RunStatus


@click.command("list")
@click.option(
    "--status",
    type=click.Choice(RunStatus, case_sensitive=False),
    help="Only runs with this status.",
)
@click.option("--open/--closed", "open", default=None, help="Only runs that have (not) ended.")
@click.option("--name", help="Only runs of this workflow.")
@click.option("--version", help="Only runs of this version.")
@click.option("--queue", help="Only runs of this queue.")
@click.option("--id", metavar="ID", help="Only runs with this workflow id.")
@click.option("--id-prefix", metavar="TEXT", help="Only runs whose workflow id begins like this.")
@tag_option("Only runs with this tag; may be given again.")
@moment_option("--started-after", "Only runs started at that moment or later.")
@moment_option("--started-before", "Only runs started before.")
@moment_option("--closed-after", "Only runs that ended at that moment or later.")
@moment_option("--closed-before", "Only runs that ended before.")
@click.option("--count", is_flag=True, help="Print how many there are, and nothing else.")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1_000_000),
    default=100,
    show_default=True,
    help="How many at most.",
)
@json_option
@codecs_option
@dsn_option
def list_runs(
    count: bool,
    limit: int,
    as_json: bool,
    codecs: str | None,
    dsn: str | None,
    **filters: Unpack[FilterKeywords],
) -> None:
    """List runs, the newest first."""

    async def fetch() -> tuple[list[loom.WorkflowInfo], str]:
        async with looked_at(dsn, codecs=codecs) as app:
            return await app.list(limit=limit, **filters), app.dsn

    async def ask() -> int:
        async with looked_at(dsn) as app:
            return await app.count(**filters)

    if count:
        number = asyncio.run(ask())
        print_json({"count": number}) if as_json else click.echo(number)
        return
    runs, place = asyncio.run(fetch())
    if as_json:
        print_json([as_dict(run, without=["activities", "messages"]) for run in runs])
    elif runs:
        _print(runs)
    else:
        asked = any(value not in (None, {}) for value in filters.values())
        what = "no such runs" if asked else "no runs yet"
        click.echo(f"There are {what} in {without_password(place)}.")
    if len(runs) == limit:
        click.echo(f"These are the newest {limit}; there may be more (--limit).", err=True)


def _print(runs: list[loom.WorkflowInfo]) -> None:
    headings = ["id", "workflow", "version", "status", "started", "updated", "events"]
    # Columns that would mostly be empty only take room.
    with_tags = any(run.tags for run in runs)
    with_waits = any(is_overdue(run.waiting_for_worker_since) for run in runs)
    rows: list[list[object]] = [
        [
            run.workflow_id,
            run.name,
            run.version,
            _status(run),
            run.created_at,
            ago(run.updated_at),
            run.history_length,
        ]
        for run in runs
    ]
    if with_tags:
        headings.append("tags")
        for row, run in zip(rows, runs, strict=True):
            row.append(tags_in_short(run.tags))
    if with_waits:
        headings.append("no worker for")
        for row, run in zip(rows, runs, strict=True):
            row.append(_unserved_for(run))
    print_table(headings, rows)
    if with_waits:
        click.echo("`loom show ID` tells which worker a run needs.", err=True)


def _status(run: loom.WorkflowInfo) -> str:
    begins = run.start_at
    is_early = begins is not None and run.closed_at is None and begins > datetime.now(UTC)
    return f"{run.status}, begins {ago(begins)}" if begins and is_early else run.status


def _unserved_for(run: loom.WorkflowInfo) -> str | None:
    since = run.waiting_for_worker_since
    return duration(datetime.now(UTC) - since) if since and is_overdue(since) else None
