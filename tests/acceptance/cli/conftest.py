"""A folder, a database, and the command line between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path, dsn: str) -> Shell:
    """On each SQL store in turn."""
    return Shell(tmp_path, dsn)


@pytest.fixture
def sqlite_shell(tmp_path: Path, sqlite_dsn: str) -> Shell:
    """On a SQLite file that does not exist yet."""
    return Shell(tmp_path, sqlite_dsn)
