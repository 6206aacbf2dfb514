"""The benchmark suite runs, tells what it promises, and compares like with like.

Nothing here is timed.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measuring import measure
from benchmarks.records import Case

# Every sample is a process of its own, which takes a busy machine its time.
pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
SPREAD = {"median", "min", "max"}


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, **options)


def run_for_json(folder: Path, *arguments: str) -> dict[str, Any]:
    file = folder / "figures.json"
    done = run(*arguments, "--json", str(file))
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def check_subject(figures: dict[str, Any], store: str) -> None:
    assert set(figures["rate_per_second"]) == SPREAD
    assert figures["rate_per_second"]["min"] > 0
    latency = figures["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert figures["cpu_ms_per_workflow"] >= figures["cpu_ms_per_operation"] > 0
    assert figures["peak_rss_mib"] > 1
    assert figures["versions"]["python"]
    if store == "memory":
        assert figures["database_bytes_per_workflow"] is None
        assert figures["durability"] == {}
    else:
        assert figures["database_bytes_per_workflow"] >= 0
        assert figures["versions"][store]


@pytest.mark.parametrize("scenario", ["throughput", "sequential"])
def test_a_scenario_on_sqlite_beside_the_limit(tmp_path: Path, scenario: str) -> None:
    document = run_for_json(
        tmp_path, scenario, "--store", "sqlite", "--n", "6", "--concurrency", "2", "--repeat", "1"
    )
    [result] = document["results"]
    assert (result["scenario"], result["store"], result["n"]) == (scenario, "sqlite", 6)
    assert result["repeats"] == 1
    assert list(result["subjects"]) == ["loom", "limit"]
    for figures in result["subjects"].values():
        check_subject(figures, "sqlite")
        assert figures["durability"] == {"journal_mode": "wal", "synchronous": "FULL"}
    assert set(result["subjects"]["loom"]["versions"]) > {"loom-durable", "sqlalchemy", "aiosqlite"}
    assert set(result["ratios"]["loom/limit"]["rate"]) == SPREAD
    assert set(document["machine"]) == {"system", "processor", "cores", "file_system"}


@pytest.mark.parametrize("scenario", ["throughput", "sequential"])
def test_a_scenario_in_memory_has_no_limit(tmp_path: Path, scenario: str) -> None:
    document = run_for_json(
        tmp_path, scenario, "--store", "memory", "--n", "6", "--concurrency", "2", "--repeat", "1"
    )
    [result] = document["results"]
    assert list(result["subjects"]) == ["loom"]
    assert result["ratios"] == {}
    check_subject(result["subjects"]["loom"], "memory")


def test_all_runs_every_scenario_on_postgres_and_prints_tables(postgres_server: str) -> None:
    sizes = ("--n", "4", "--concurrency", "2", "--repeat", "1")
    done = run("all", "--store", "postgres", *sizes, "--dsn", postgres_server)
    assert done.returncode == 0, done.stderr
    assert "throughput on postgres, per workflow" in done.stdout
    assert "sequential on postgres, per step" in done.stdout
    assert "fsync on, synchronous_commit on" in done.stdout


def test_a_server_that_is_no_postgres_is_refused() -> None:
    done = run("throughput", "--store", "postgres", "--dsn", "sqlite:///loom.db")
    assert done.returncode == 2
    assert "it must name a Postgres server" in done.stderr


# --- the limit writes what Loom writes -----------------------------------------------------------

VARYING = {"workflow_id", "run_id", "lease_owner"}


def rows_left(subject: str, case: Case, dsn: str) -> dict[str, list[dict[str, Any]]]:
    """What a subject leaves in the database; of what varies, only whether it is there."""
    measure(subject, "sqlite", case, dsn)
    connection = sqlite3.connect(dsn.removeprefix("sqlite:///"))
    connection.row_factory = sqlite3.Row
    try:
        return {
            table: [comparable(row) for row in connection.execute(f"SELECT * FROM {table}")]
            for table in ("workflows", "events", "tasks", "inbox", "logs")
        }
    finally:
        connection.close()


def comparable(row: sqlite3.Row) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in row.keys():  # noqa: SIM118 - a row iterates over its values
        value = row[name]
        if value is not None and (name in VARYING or name.endswith("_at")):
            value = "some"
        values[name] = value if name != "payload" else bool(value)
    return values


@pytest.mark.parametrize("scenario", ["throughput", "sequential"])
def test_the_limit_leaves_the_rows_that_loom_leaves(
    tmp_path: Path, sqlite_template: Path, scenario: str
) -> None:
    case = Case(scenario, n=3)
    left = {}
    for subject in ("loom", "limit"):
        path = tmp_path / f"{subject}.db"
        path.write_bytes(sqlite_template.read_bytes())
        left[subject] = rows_left(subject, case, f"sqlite:///{path}")
    assert left["limit"] == left["loom"]
