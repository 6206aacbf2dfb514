"""Every Python block of the README and the tutorial runs as it stands, and the settings page tells
the truth."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

import loom
from loom.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "docs/tutorial.md",
    "docs/storage.md",
    "docs/testing.md",
    "docs/starting.md",
    "docs/activities.md",
    "docs/waiting.md",
    "docs/children.md",
    "docs/continue-as-new.md",
    "docs/messages.md",
    "docs/versions.md",
    "docs/sagas.md",
    "docs/cancellation.md",
    "docs/replay.md",
    "docs/determinism.md",
)


PYTEST = (
    *("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
    *("-o", "filterwarnings=error"),
    *("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
)
"""For blocks that define tests."""


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in PAGES
    for number, block in enumerate(python_blocks(page), 1)
]


def run(code: str, dsn: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block in a folder of its own, on the database that the test is about."""
    script = folder / "block.py"
    script.write_text(re.sub(r'"sqlite:///\w+\.db"', repr(dsn), code))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOOM_")}
    pytest = [*PYTEST, f"--loom-store={dsn}"] if "def test_" in code else []
    return subprocess.run(
        [sys.executable, "-W", "error", *pytest, str(script)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("code", BLOCKS)
async def test_a_block_of_the_docs_runs_as_it_stands(code: str, dsn: str, tmp_path: Path) -> None:
    done = await asyncio.to_thread(run, code, dsn, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.postgres
async def test_the_query_of_the_storage_page_shows_a_history(
    migrated_postgres_dsn: str, tmp_path: Path
) -> None:
    (query,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/storage.md").read_text(), re.DOTALL)
    (example,) = python_blocks("README.md")
    done = await asyncio.to_thread(run, example, migrated_postgres_dsn, tmp_path)
    assert done.returncode == 0, done.stderr
    connection = await asyncpg.connect(migrated_postgres_dsn)
    try:
        rows = await connection.fetch(query)
    finally:
        await connection.close()

    assert [row["type"] for row in rows][:2] == ["WORKFLOW_STARTED", "ACTIVITY_SCHEDULED"]
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))


def test_the_history_on_the_replay_page_is_one() -> None:
    page = (ROOT / "docs/replay.md").read_text()
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    history = loom.RunHistory.from_json(block)
    assert [event.type for event in history.events] == ["WORKFLOW_STARTED"]


def test_the_settings_page_lists_every_setting_with_its_default() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    rows = re.findall(r"^\| `LOOM_(\w+)` \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    described = {
        name.upper(): (str(field.default), field.description)
        for name, field in Settings.model_fields.items()
    }

    assert {name: (default.strip("`"), text) for name, default, text in rows} == described


def test_the_readme_shows_the_example_as_it_is() -> None:
    assert python_blocks("README.md") == [(ROOT / "examples/orders.py").read_text()]


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
