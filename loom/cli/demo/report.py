"""How the demo ends: the timeline, and the count of the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from loom.cli.demo.screen import Moment

if TYPE_CHECKING:
    from examples.ingest.audit import Audit

_SHOWN = 10


def print_timeline(moments: Iterable[Moment]) -> None:
    """Prints what happened, in order."""
    _heading("Timeline")
    for moment in sorted(moments, key=lambda each: each.seconds):
        click.echo(str(moment))


def print_counts(audit: Audit, killed: int) -> None:
    """Prints what became of the files and the executions; ``killed`` is the process that was."""
    _heading("Count, from the activities' own ledger and Loom's history")
    _count("listed", len(audit.listed), "files")
    _count("indexed", len(audit.indexed))
    _count("failed", len(audit.failures), _reasons(audit.failures.values()))
    _count("lost", len(audit.lost))
    _count("repeated", len(audit.repeated), "executions after their end had been recorded")
    in_flight = sum(execution.process == killed for execution in audit.unrecorded)
    _count("done over", in_flight, "executions in flight at the kill, so never recorded")
    if others := len(audit.unrecorded) - in_flight:
        _count("retried", others, "executions that raised or came too late")


def problems(audit: Audit, expected: frozenset[str]) -> list[str]:
    """What is wrong with the counts, a line each."""
    return [
        *_named("lost", audit.lost),
        *_named("overlooked by the listing", expected - audit.listed),
        *_named("indexed without being listed", audit.known - audit.listed),
        *_named("repeated after being recorded", [each.file for each in audit.repeated]),
    ]


def _named(what: str, files: Iterable[str]) -> Sequence[str]:
    names = sorted(files)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{what}: {', '.join(names[:_SHOWN])}{more}"] if names else []


def _reasons(failures: Iterable[str]) -> str:
    kinds = Counter(reason.partition(":")[0] for reason in failures)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def _count(name: str, number: int, remark: str = "") -> None:
    click.echo(f"  {name:<10}{number:>8,}  {remark}".rstrip())


def _heading(text: str) -> None:
    click.echo(f"\n{click.style(text, bold=True)}")
