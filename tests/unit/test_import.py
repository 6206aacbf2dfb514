"""``import loom`` stays light: what an application does not use, it does not pay for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import loom

HEAVY = ("sqlalchemy", "pydantic", "pydantic_settings", "alembic", "aiosqlite", "asyncpg", "click")


def modules_after(statement: str) -> set[str]:
    """The modules of a fresh interpreter that ran ``statement``."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def modules_after_import() -> set[str]:
    return modules_after("import loom")


@pytest.mark.parametrize("package", HEAVY)
def test_importing_loom_does_not_import(package: str, modules_after_import: set[str]) -> None:
    assert package not in modules_after_import


def test_importing_loom_imports_nothing_that_is_for_tests(modules_after_import: set[str]) -> None:
    assert not [name for name in modules_after_import if name.startswith("loom.testing")]


def test_defining_a_workflow_imports_nothing_heavy() -> None:
    loaded = modules_after("from loom import activity, workflow")
    assert loaded.isdisjoint(HEAVY)


async def test_looking_at_a_database_does_not_import_what_would_migrate_it(tmp_path: Path) -> None:
    dsn = f"sqlite:///{tmp_path}/loom.db"
    async with loom.Loom(dsn):
        pass
    loaded = modules_after(
        "import asyncio\n"
        "from loom.cli.application import looked_at\n"
        "async def look():\n"
        f"    async with looked_at({dsn!r}):\n"
        "        pass\n"
        "asyncio.run(look())"
    )
    assert "alembic" not in loaded
