"""The command line: ``python -m benchmarks SCENARIO``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import click

from benchmarks.databases import STORES, databases
from benchmarks.report import as_json, as_text
from benchmarks.scenarios import SCENARIOS
from benchmarks.suite import Results, run_scenario
from tests.postgres import PostgresUnavailable

POSTGRES_SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")


@click.command()
@click.argument("scenario", type=click.Choice([*SCENARIOS, "all"]))
@click.option(
    "--store", type=click.Choice(STORES), help="One store alone; by default SQLite and Postgres."
)
@click.option("--concurrency", type=click.IntRange(1), help="How many clients, for throughput.")
@click.option("--n", type=click.IntRange(1), help="How many workflows, or steps of one.")
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it."
)
@click.option(
    "--dsn",
    help="A Postgres server to measure on, in new databases of its own. "
    "[env: LOOM_DSN; default: a server started for the occasion]",
)
def main(
    scenario: str,
    store: str | None,
    concurrency: int | None,
    n: int | None,
    repeat: int,
    file: Path | None,
    dsn: str | None,
) -> None:
    """Measure Loom, and beside it the limit: the same rows with no engine."""
    # Whoever stops us, the server that we started must go too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = list(SCENARIOS.values()) if scenario == "all" else [SCENARIOS[scenario]]
    results: list[Results] = []
    for place in [store] if store else ["sqlite", "postgres"]:
        try:
            with databases(place, _postgres_server(dsn)) as fresh:
                for one in chosen:
                    cases = one.cases(n, concurrency)
                    results.append(run_scenario(one, cases, place, fresh, repeat, _progress))
        except PostgresUnavailable as reason:
            raise click.ClickException(f"no Postgres to measure on: {reason}") from reason
    document = as_json(results)
    click.echo(as_text(document))
    if file is not None:
        file.write_text(json.dumps(document, indent=2) + "\n")


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
