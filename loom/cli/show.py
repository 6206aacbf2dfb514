"""``loom show``: everything about one run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

import loom
from loom.cli.application import looked_at
from loom.cli.events import exact_time, what_happened
from loom.cli.obstacles import (
    Obstacle,
    in_inbox,
    is_overdue,
    missing_worker,
    obstacle,
    what_unblocks,
)
from loom.cli.options import codecs_option, dsn_option, json_option
from loom.cli.output import (
    ago,
    as_dict,
    harmless,
    local_time,
    one_line,
    print_fields,
    print_json,
    print_table,
    tags_in_short,
)
from loom.history.status import RunStatus


@dataclass(frozen=True)
class Run:
    """What there is to show; ``None`` where it was not asked for or does not exist."""

    info: loom.WorkflowInfo
    result: Any = None
    failure: loom.WorkflowExecutionError | None = None
    history: list[loom.HistoryEvent] | None = None
    logs: list[loom.LogLine] | None = None


@click.command()
@click.argument("workflow_id", metavar="ID")
@click.option("--run-id", help="An older run with this id; by default the newest.")
@click.option("--history", is_flag=True, help="Show every event.")
@click.option("--logs", is_flag=True, help="Show what the workflow logged.")
@json_option
@codecs_option
@dsn_option
def show(
    workflow_id: str,
    run_id: str | None,
    history: bool,
    logs: bool,
    as_json: bool,
    codecs: str | None,
    dsn: str | None,
) -> None:
    """Show the workflow ID: where it stands, what it waits for, and how it ended."""

    async def fetch() -> Run:
        async with looked_at(dsn, codecs=codecs) as app:
            return await _fetch(app.handle(workflow_id, run_id=run_id), history, logs)

    run = asyncio.run(fetch())
    if as_json:
        print_json(_as_json(run))
    else:
        _print(run)


async def _fetch(handle: loom.WorkflowHandle[Any], history: bool, logs: bool) -> Run:
    info = await handle.info()
    result, failure = await _outcome(handle) if await _is_last(handle, info) else (None, None)
    return Run(
        info,
        result,
        failure,
        history=await handle.history() if history else None,
        logs=await handle.logs() if logs else None,
    )


async def _is_last(handle: loom.WorkflowHandle[Any], info: loom.WorkflowInfo) -> bool:
    """Whether it has an outcome: what a run comes to that another one continues, as new or since
    it failed, is told by the last of its chain, which may take long."""
    if info.status is RunStatus.FAILED:
        last = (await handle.history())[-1:]
        return not any(event.attributes.get("next_run_id") for event in last)
    return info.closed_at is not None and info.status is not RunStatus.CONTINUED_AS_NEW


async def _outcome(
    handle: loom.WorkflowHandle[Any],
) -> tuple[Any, loom.WorkflowExecutionError | None]:
    try:
        return await handle.result(), None
    except loom.WorkflowExecutionError as error:
        return None, error


# --- for programs --------------------------------------------------------------------------------


def _as_json(run: Run) -> dict[str, Any]:
    shown = as_dict(run.info) | {"result": run.result, "failure": _failure(run.failure)}
    if run.history is not None:
        shown["history"] = [as_dict(event) for event in run.history]
    if run.logs is not None:
        shown["logs"] = [as_dict(line) for line in run.logs]
    return shown


def _failure(error: loom.WorkflowExecutionError | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {
        "message": str(error),
        "cause_type": error.cause_type,
        "cause_message": error.cause_message,
        "cause_traceback": error.cause_traceback,
    }


# --- for people ----------------------------------------------------------------------------------


def _print(run: Run) -> None:
    info = run.info
    print_fields(
        {
            "id": info.workflow_id,
            "run": info.run_id,
            "workflow": f"{info.name}, version {info.version}",
            "status": info.status,
            "continues": info.continued_from,
            "queue": info.queue,
            "tags": tags_in_short(info.tags),
            "memo": None if info.memo is None else one_line(info.memo),
            "created" if info.start_at else "started": _when(info.created_at),
            "begins": _when(info.start_at),
            "times out": _when(info.deadline) if info.closed_at is None else None,
            "updated": _when(info.updated_at),
            "closed": _when(info.closed_at),
            "next try" if info.blocked_reason else "next timer": _when(info.wake_at),
            "worker": info.worker,
            "events": info.history_length,
            "inbox": in_inbox(info),
            "waits": _waits(info),
            "result": one_line(run.result) if info.status is RunStatus.COMPLETED else None,
            "failure": run.failure,
        }
    )
    if run.failure and run.failure.cause_traceback:
        click.echo(f"\n{harmless(run.failure.cause_traceback.rstrip())}")
    if info.blocked_reason:
        _print_heading("Blocked")
        click.echo(f"{harmless(info.blocked_reason.rstrip())}\n{what_unblocks(info)}")
    _print_activities(info.activities)
    if run.history is not None:
        _print_history(run.history)
    if run.logs is not None:
        _print_logs(run.logs)


def _waits(info: loom.WorkflowInfo) -> Obstacle | None:
    if not info.blocked_reason:
        return obstacle(info)
    # Why it is blocked is told at length; but perhaps nobody even tries it again.
    return missing_worker(info) if is_overdue(info.waiting_for_worker_since) else None


def _when(moment: datetime | None) -> str | None:
    return None if moment is None else f"{local_time(moment)}, {ago(moment)}"


def _print_activities(activities: list[loom.PendingActivity]) -> None:
    if activities:
        _print_heading("Waiting for activities")
        print_table(
            ["activity", "name", "attempt", "failures", "due", "worker", "last failure"],
            (
                (a.activity_id, a.name, a.attempt, a.failures, ago(a.available_at), a.worker,
                 a.last_failure)
                for a in activities
            ),
        )  # fmt: skip


def _print_history(history: list[loom.HistoryEvent]) -> None:
    _print_heading("History")
    print_table(
        ["event", "at", "type", "what"],
        ((e.sequence, exact_time(e.recorded_at), e.type, what_happened(e)) for e in history),
    )


def _print_logs(logs: list[loom.LogLine]) -> None:
    _print_heading("Logs")
    for line in logs:
        click.echo(f"{local_time(line.logged_at)} {line.level:<8} {harmless(line.message)}")


def _print_heading(text: str) -> None:
    click.echo(f"\n{click.style(text, bold=True)}")
