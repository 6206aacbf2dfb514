"""The benchmark suite runs, tells what it promises, and compares like with like.

Nothing here is timed.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from benchmarks import newer_sqlite, publishing, targets
from benchmarks.__main__ import main
from benchmarks.document import Json, as_json
from benchmarks.measuring import measure
from benchmarks.records import Case, Sample, Work
from benchmarks.scenarios import SCENARIOS
from benchmarks.subjects import PEERS, SUBJECTS
from benchmarks.suite import Results, case_for, run_scenario

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


def test_a_scenario_on_sqlite_beside_the_limit(tmp_path: Path) -> None:
    sizes = ("--n", "6", "--concurrency", "2", "--repeat", "1")
    document = run_for_json(tmp_path, "throughput", "--store", "sqlite", *sizes)
    [result] = document["results"]
    assert (result["scenario"], result["store"], result["n"]) == ("throughput", "sqlite", 6)
    assert result["repeats"] == 1
    assert list(result["subjects"]) == ["loom", "limit", "limit-awaited"]
    for figures in result["subjects"].values():
        check_subject(figures, "sqlite")
        assert figures["durability"] == {"journal_mode": "wal", "synchronous": "FULL"}
    assert set(result["subjects"]["loom"]["versions"]) > {"loom-durable", "sqlalchemy", "aiosqlite"}
    assert set(result["ratios"]["loom/limit"]["rate"]) == SPREAD
    assert set(document["machine"]) == {"system", "processor", "cores", "load", "file_system"}


def test_a_scenario_in_memory_has_no_limit(tmp_path: Path) -> None:
    document = run_for_json(
        tmp_path, "sequential", "--store", "memory", "--n", "6", "--repeat", "1"
    )
    [result] = document["results"]
    assert list(result["subjects"]) == ["loom"]
    assert result["ratios"] == {}
    check_subject(result["subjects"]["loom"], "memory")


def test_several_scenarios_run_on_postgres_and_print_tables(postgres_server: str) -> None:
    sizes = ("--n", "4", "--concurrency", "2", "--repeat", "1")
    scenarios = ("sequential", "throughput")
    done = run(*scenarios, "--store", "postgres", *sizes, "--dsn", postgres_server)
    assert done.returncode == 0, done.stderr
    assert "throughput on postgres, per workflow" in done.stdout
    assert "sequential on postgres, per step" in done.stdout
    assert "fsync on, synchronous_commit on" in done.stdout


def test_a_server_that_is_no_postgres_is_refused() -> None:
    done = run("throughput", "--store", "postgres", "--dsn", "sqlite:///loom.db")
    assert done.returncode == 2
    assert "it must name a Postgres server" in done.stderr


# --- every scenario does what it says ------------------------------------------------------------

HERE = (
    Case("throughput", 3, 2),
    Case("sequential", 3),
    Case("fanout", 3, kind="activities"),
    Case("fanout", 3, kind="children"),
    Case("latency", 2),
    Case("signal", 2),
    Case("query", 2),
    Case("timer", 2, kind="alone"),
    Case("timer", 2, kind="together"),
)
IN_OTHER_PROCESSES = (
    Case("processes", 3, 2, processes=2),
    Case("signal", 2, processes=1),
    Case("recovery", 2, processes=0),
    Case("waiting", 3, processes=0),
    Case("history", 10),
    Case("idle", 1, processes=1),
)
NOWHERE = (
    Case("replay", 3, kind="sequential"),
    Case("replay", 3, kind="parallel"),
    Case("import", 1),
)
FIGURES = {
    "fanout": {"seconds"},
    "recovery": {"seconds_after_lease", "seconds_after_kill"},
    "waiting": {"ready_seconds", "rss_mib", "opener_rss_mib"},
    "history": {"opened_seconds", "replayed_seconds", "shown_seconds"},
    "idle": {"cpu_percent"},
    "soak": {"early_rss_mib", "late_rss_mib", "rate_late_to_early"},
}


def check_sample(case: Case, store: str, dsn: str) -> None:
    # The workloads check their own results; what is left to see is that they are counted.
    sample = measure("loom", store, case, dsn)
    assert sample.work.operations >= case.n
    assert sample.work.seconds > 0
    assert sample.rate > 0
    if case.scenario in FIGURES:
        assert set(sample.work.figures) == FIGURES[case.scenario]


@pytest.mark.parametrize("case", [*HERE, *IN_OTHER_PROCESSES, Case("soak", 1, 2)], ids=str)
def test_each_scenario_runs_on_sqlite(
    case: Case, migrated_sqlite_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOM_LEASE_SECONDS", "1")
    check_sample(case, "sqlite", migrated_sqlite_dsn)


@pytest.mark.parametrize("case", [*HERE, *IN_OTHER_PROCESSES[1:3]], ids=str)
def test_scenarios_run_on_postgres(
    case: Case, migrated_postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOM_LEASE_SECONDS", "1")
    check_sample(case, "postgres", migrated_postgres_dsn)


@pytest.mark.parametrize("case", NOWHERE, ids=str)
def test_scenarios_without_a_database_need_none(case: Case) -> None:
    check_sample(case, "none", "")


def test_no_two_scenarios_or_cases_are_the_same() -> None:
    for name, scenario in SCENARIOS.items():
        cases = scenario.cases(None, None)
        assert len(set(cases)) == len(cases)
        assert {case.scenario for case in cases} == {name}


# --- peers ---------------------------------------------------------------------------------------


def test_a_peer_that_is_not_installed_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.subjects.find_spec", lambda name: None)
    done = CliRunner().invoke(main, ["throughput", "--store", "sqlite", "--peer", "dbos"])
    assert done.exit_code == 1
    assert "not installed: dbos. `uv sync --group peers` installs" in done.output


def test_peers_run_what_is_not_too_much_for_them() -> None:
    throughput, sequential = SCENARIOS["throughput"], SCENARIOS["sequential"]
    dbos = SUBJECTS["dbos"]
    asked = case_for(dbos, throughput, "sqlite", Case("throughput", 10_000, 500))
    assert asked == Case("throughput", 2_000, 500)
    assert case_for(dbos, sequential, "sqlite", Case("sequential", 20_000)) is None
    assert case_for(dbos, sequential, "memory", Case("sequential", 100)) is None
    assert case_for(dbos, SCENARIOS["signal"], "sqlite", Case("signal", 2, processes=1)) is None


PEERS_AT_WORK = [
    (name, store, case)
    for name, peer in PEERS.items()
    for store in ("sqlite", "postgres", "none")
    for case in (*HERE, *NOWHERE)
    if case_for(peer, SCENARIOS[case.scenario], store, case)
]


@pytest.mark.parametrize(("peer", "store", "case"), PEERS_AT_WORK, ids=str)
def test_a_peer_runs_what_loom_runs(
    peer: str, store: str, case: Case, request: pytest.FixtureRequest
) -> None:
    if not SUBJECTS[peer].is_installed or (store == "sqlite" and not newer_sqlite.is_there()):
        pytest.skip("not installed: `uv sync --group peers`")
    dsn = "" if store == "none" else request.getfixturevalue(f"migrated_{store}_dsn")
    # In a process of its own, as the suite does it: what peers leave behind is not ours.
    [sample] = run_in_processes(peer, store, case, dsn)
    assert sample.work.operations >= case.n


def run_in_processes(peer: str, store: str, case: Case, dsn: str) -> Sequence[Sample]:
    scenario = SCENARIOS[case.scenario]
    results = run_scenario(scenario, [case], store, lambda: nullcontext(dsn), 1, [peer], print)
    return results.samples[case][peer]


# --- targets -------------------------------------------------------------------------------------


def test_targets_tell_what_was_reached_and_what_was_missed() -> None:
    document = document_of_all_cases()
    document["comparisons"] = []
    document["results"] = [
        result
        for result in document["results"]
        if (result["scenario"], result["n"]) == ("replay", 1_000) and result["kind"] == "sequential"
    ]
    loom = document["results"][0]["subjects"]["loom"]
    for rate, word in ((30_001.0, "pass"), (29_999.0, "MISS")):
        loom["rate_per_second"]["median"] = rate
        _, row, *_ = targets.rows(document)
        assert row[0] == "replay, 1,000 sequential activities"
        assert row[-1] == word


def test_every_target_can_be_measured() -> None:
    """There is a scenario for each, at the size that it speaks of."""
    document = document_of_all_cases()
    document["results"] = [e for e in document["results"] if e["scenario"] in targets.SCENARIOS]
    judged = {(verdict.target.name, verdict.store) for verdict in targets.verdicts(document)}
    assert judged == {(target.name, store) for target in targets.TARGETS for store in target.wanted}


def document_of_all_cases() -> Json:
    """As a run of everything would leave it, with ones for all figures."""
    names = sorted(set().union(*FIGURES.values()))
    work = Work(1, 1.0, 1.0, 1, figures=dict.fromkeys(names, 1.0))
    sample = Sample(work, dict.fromkeys(("p50", "p95", "p99"), 1.0), 1.0, 1.0, {}, {})
    results = []
    for scenario in SCENARIOS.values():
        for store in sorted(scenario.stores):
            samples = {
                case: {
                    name: [sample]
                    for name, subject in SUBJECTS.items()
                    if case_for(subject, scenario, store, case)
                }
                for case in scenario.cases(None, None)
            }
            results.append(Results(scenario, store, samples))
    return as_json(results, load=0)


# --- what is published ---------------------------------------------------------------------------


def test_publishing_writes_figures_plots_and_tables_and_says_the_same_twice(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n{publishing.BEGIN}\nold\n{publishing.END}\nafter\n")
    document = document_of_all_cases()
    publishing.publish(document, tmp_path)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    folder = tmp_path / "benchmarks"
    for image in re.findall(r"!\[.*?\]\((.*?)\)", text):
        ElementTree.parse(tmp_path / image)
    assert "| throughput, 500 clients | sqlite | at least 4,000 wf/s | 1.00 wf/s | MISS |" in text
    written = {path.name: path.read_bytes() for path in folder.iterdir()}

    publishing.publish(json.loads((folder / "figures.json").read_text()), tmp_path)

    assert page.read_text() == text
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written


def test_the_page_shows_the_figures_that_were_saved() -> None:
    _, _, published = (ROOT / "docs/benchmarks.md").read_text().partition(publishing.BEGIN)
    assert publishing.END in published
    figures = ROOT / "docs/benchmarks/figures.json"
    if figures.exists():
        document = json.loads(figures.read_text())
        assert publishing.as_markdown(document) in published
        for name, plot in publishing.plots(document).items():
            assert (figures.parent / name).read_text() == plot


def test_a_page_without_a_place_for_figures_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("something else\n")
    with pytest.raises(ValueError, match="has no place for figures"):
        publishing.publish(document_of_all_cases(), tmp_path)
    assert page.read_text() == "something else\n"


def test_of_several_files_the_last_counts() -> None:
    old, new = document_of_all_cases(), document_of_all_cases()
    new["results"] = new["results"][:1]
    new["results"][0]["repeats"] = 9
    together = publishing.merged([old, new])
    assert len(together["results"]) == len(old["results"])
    assert [entry["repeats"] for entry in together["results"]].count(9) == 1


def test_a_subject_that_fails_does_not_take_the_others_with_it(
    tmp_path: Path, sqlite_template: Path
) -> None:
    dsn = f"sqlite:///{tmp_path / 'loom.db'}"
    (tmp_path / "loom.db").write_bytes(sqlite_template.read_bytes())
    scenario, case = SCENARIOS["throughput"], Case("throughput", 2)
    # Its file exists, so that the limit's rows do not fit any more.
    results = run_scenario(
        scenario, [case], "sqlite", lambda: nullcontext(dsn), 1, ["loom", "limit"], print
    )
    assert list(results.samples[case]) == ["loom"]
    [failure] = results.failures
    assert failure.startswith("sqlite throughput n=2 limit: ")


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
    for subject in ("loom", "limit", "limit-awaited"):
        path = tmp_path / f"{subject}.db"
        path.write_bytes(sqlite_template.read_bytes())
        left[subject] = rows_left(subject, case, f"sqlite:///{path}")
    assert left["limit"] == left["loom"]
    assert left["limit-awaited"] == left["loom"]
