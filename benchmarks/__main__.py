"""The command line: ``python -m benchmarks SCENARIO``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from benchmarks import targets
from benchmarks.databases import STORES, databases
from benchmarks.document import Json, as_json
from benchmarks.publishing import publish
from benchmarks.report import as_table, as_text
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.base import Scenario
from benchmarks.subjects import OWN, PEERS, SUBJECTS
from benchmarks.suite import Results, run_scenario
from tests.postgres import PostgresUnavailable

POSTGRES_SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")

ALL: Final = "all"
TARGETS: Final = "targets"
"""Every scenario of which there is something to be reached."""
QUIET: Final = 0.5
"""Processes that want to run, of a machine on which figures mean something."""


@click.command()
@click.argument(
    "scenarios",
    metavar="SCENARIO...",
    type=click.Choice([*SCENARIOS, TARGETS, ALL]),
    nargs=-1,
    required=True,
)
@click.option(
    "--store", type=click.Choice(STORES), help="One store alone; by default SQLite and Postgres."
)
@click.option(
    "--peer",
    "peers",
    type=click.Choice([*PEERS, ALL]),
    multiple=True,
    help="Another system to measure beside Loom, from the dependency group `peers`.",
)
@click.option("--concurrency", type=click.IntRange(1), help="How many clients.")
@click.option("--n", type=click.IntRange(1), help="How many workflows, steps or seconds.")
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it."
)
@click.option(
    "--publish", "is_published", is_flag=True, help="Write the figures and plots of the docs."
)
@click.option(
    "--dsn",
    help="A Postgres server to measure on, in new databases of its own. "
    "[env: LOOM_DSN; default: a server started for the occasion]",
)
def main(
    scenarios: Sequence[str],
    store: str | None,
    peers: Sequence[str],
    concurrency: int | None,
    n: int | None,
    repeat: int,
    file: Path | None,
    is_published: bool,
    dsn: str | None,
) -> None:
    """Measure Loom, beside it the limit, which is the same rows with no engine, and other systems.

    At the end stands what Loom is meant to reach, as far as it was measured.
    """
    # Whoever stops us, the server that we started must go too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    subjects = [*OWN, *_installed(peers)]
    server = _postgres_server(dsn)
    results: list[Results] = []
    load = os.getloadavg()[0]
    for place, chosen in _places(_chosen(scenarios), store):
        try:
            with databases(place, server) as fresh:
                for one in chosen:
                    cases = one.cases(n, concurrency)
                    results.append(
                        run_scenario(one, cases, place, fresh, repeat, subjects, _progress)
                    )
                    # What was measured is not lost when we are stopped.
                    _save(as_json(results, load), file)
        except PostgresUnavailable as reason:
            raise click.ClickException(f"no Postgres to measure on: {reason}") from reason
    document = as_json(results, load)
    _print(document)
    if is_published:
        publish(document)
    if document["failures"]:
        sys.exit(1)


def _save(document: Json, file: Path | None) -> None:
    if file is not None:
        file.write_text(json.dumps(document, indent=2) + "\n")


def _print(document: Json) -> None:
    click.echo(as_text(document))
    rows = list(targets.rows(document))
    if len(rows) > 1:
        click.echo("\n" + "\n".join(as_table(rows)))
    load = document["machine"]["load"]
    if load > QUIET:
        click.echo(f"\nThe machine was busy (load {load:.1f}): trust ratios and CPU time alone.")
    for failure in document["failures"]:
        click.echo(f"\nNot measured: {failure}")


def _chosen(names: Sequence[str]) -> list[Scenario]:
    if ALL in names:
        return list(SCENARIOS.values())
    wanted = {*names, *(targets.SCENARIOS if TARGETS in names else ())}
    return [one for name, one in SCENARIOS.items() if name in wanted]


def _places(
    scenarios: Sequence[Scenario], store: str | None
) -> Iterator[tuple[str, list[Scenario]]]:
    """Each store, with the scenarios that are run on it."""
    for place in ["none", *([store] if store else ["sqlite", "postgres"])]:
        able = [one for one in scenarios if place in one.stores]
        if able:
            yield place, able


def _installed(peers: Sequence[str]) -> list[str]:
    asked = list(PEERS) if ALL in peers else list(dict.fromkeys(peers))
    missing = [name for name in asked if not SUBJECTS[name].is_installed]
    if missing:
        raise click.ClickException(
            f"not installed: {', '.join(missing)}. `uv sync --group peers` installs what Loom is "
            "compared with."
        )
    return asked


def _postgres_server(dsn: str | None) -> str | None:
    if dsn is not None:
        if not _is_postgres(dsn):
            raise click.BadParameter("it must name a Postgres server", param_hint="--dsn")
        return dsn
    from_environment = os.environ.get("LOOM_DSN", "")
    return from_environment if _is_postgres(from_environment) else None


def _is_postgres(dsn: str) -> bool:
    return dsn.partition("://")[0] in POSTGRES_SCHEMES


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
