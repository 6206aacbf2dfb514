"""``loom check``: every open run of a database, replayed against the code about to be deployed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

import loom
from loom.authoring.compiled import compiled_workflow
from loom.cli.application import looked_at
from loom.cli.output import harmless
from loom.runner.replayer import ReplayOutcome

if TYPE_CHECKING:
    from loom.runner.replayer import ReplayResult

_WORDS = {
    ReplayOutcome.OK: "fits",
    ReplayOutcome.BROKEN: "BREAKS",
    ReplayOutcome.UNSERVED: "UNSERVED",
    ReplayOutcome.UNREADABLE: "UNREADABLE",
}


@dataclass(frozen=True)
class Wanted:
    """What to check, and how strictly."""

    dsn: str | None
    name: str | None
    queue: str | None
    sample: int
    allows_unserved: bool
    strict: bool


@dataclass
class Tally:
    """What was found, counted: of any number of runs it takes the same room."""

    outcomes: Counter[ReplayOutcome] = field(default_factory=Counter)
    closed: int = 0
    elsewhere: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Open runs of workflows that the code does not have in any version, by name and version."""

    @property
    def checked(self) -> int:
        return self.outcomes.total()

    def is_good(self, wanted: Wanted) -> bool:
        bad = set(self.outcomes) - {ReplayOutcome.OK}
        if wanted.allows_unserved:
            bad.discard(ReplayOutcome.UNSERVED)
        return not bad and not (wanted.strict and self.elsewhere)


async def check_runs(
    workflows: Sequence[type[Any]],
    wanted: Wanted,
    *,
    codecs: str | None = None,
    as_json: bool,
    verbose: bool,
) -> bool:
    """Check and print, run by run; whether the code can be deployed."""
    tally = Tally()
    names = {compiled_workflow(cls).name for cls in workflows}
    async with looked_at(wanted.dsn, codecs=codecs) as app:
        results = app.check(workflows, name=wanted.name, queue=wanted.queue, sample=wanted.sample)
        ours = _counted(results, names, tally)
        await (_print_json(ours) if as_json else _print_lines(ours, verbose))
    is_good = tally.is_good(wanted)
    if as_json:
        click.echo(f'],\n"summary": {json.dumps(_summary(tally, is_good))}}}')
    else:
        _print_summary(tally)
    return is_good


async def _counted(
    results: AsyncIterator[ReplayResult], names: set[str], tally: Tally
) -> AsyncIterator[ReplayResult]:
    """Only runs of workflows that the code has, in whatever version."""
    async for result in results:
        if result.name not in names:
            tally.elsewhere[result.name, result.version] += 1
            continue
        tally.outcomes[result.outcome] += 1
        tally.closed += not result.status.is_open
        yield result


# --- for people ----------------------------------------------------------------------------------


async def _print_lines(results: AsyncIterator[ReplayResult], verbose: bool) -> None:
    async for result in results:
        if verbose or not result.ok:
            at = f" at event {result.event}" if result.event else ""
            click.echo(
                f"{_WORDS[result.outcome]}  {harmless(result.workflow_id)} (run {result.run_id}, "
                f"{harmless(result.name)} version {harmless(result.version)}){at}"
            )
            for line in str(result.error or "").splitlines():
                click.echo(f"    {harmless(line)}")


def _print_summary(tally: Tally) -> None:
    outcomes = tally.outcomes
    open_runs, closed = tally.checked - tally.closed, tally.closed
    parts = [f"{outcomes[ReplayOutcome.OK]} fit"]
    told = {
        ReplayOutcome.BROKEN: "would break",
        ReplayOutcome.UNSERVED: "would be served by nobody",
        ReplayOutcome.UNREADABLE: "cannot be read",
    }
    parts += [f"{outcomes[kind]} {what}" for kind, what in told.items() if outcomes[kind]]
    click.echo(
        f"{open_runs:,} open and {closed:,} closed runs checked: {', '.join(parts)}.", err=True
    )
    if tally.elsewhere:
        others = ", ".join(
            f"{harmless(name)} version {harmless(version)} ({count:,})"
            for (name, version), count in sorted(tally.elsewhere.items())
        )
        click.echo(f"Not checked, for other code has them: open runs of {others}.", err=True)


# --- for programs --------------------------------------------------------------------------------


async def _print_json(results: AsyncIterator[ReplayResult]) -> None:
    """One object, written as it comes, so that it may be of any length."""
    click.echo('{"runs": [')
    separator = ""
    async for result in results:
        click.echo(separator + harmless(json.dumps(_as_json(result))), nl=False)
        separator = ",\n"
    click.echo()


def _as_json(result: ReplayResult) -> dict[str, Any]:
    error = result.error
    differs = error if isinstance(error, loom.NonDeterministicWorkflowError) else None
    return {
        "workflow_id": result.workflow_id,
        "run_id": result.run_id,
        "name": result.name,
        "version": result.version,
        "status": result.status.value,
        "history_length": result.history_length,
        "outcome": result.outcome.value,
        "event": result.event,
        "error": None if error is None else str(error),
        "history": differs and differs.history,
        "code": differs and differs.code,
        "place": differs and differs.place,
    }


def _summary(tally: Tally, is_good: bool) -> dict[str, Any]:
    return {
        "good": is_good,
        **{outcome.value: tally.outcomes[outcome] for outcome in ReplayOutcome},
        "open": tally.checked - tally.closed,
        "closed": tally.closed,
        "elsewhere": [
            {"name": name, "version": version, "runs": count}
            for (name, version), count in sorted(tally.elsewhere.items())
        ],
    }
