"""A folder, a database, and the command line between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path, dsn: str) -> Iterator[Shell]:
    """On each SQL store in turn."""
    with closing(Shell(tmp_path, dsn)) as shell:
        yield shell


@pytest.fixture
def sqlite_shell(tmp_path: Path, sqlite_dsn: str) -> Iterator[Shell]:
    """On a SQLite file that does not exist yet."""
    with closing(Shell(tmp_path, sqlite_dsn)) as shell:
        yield shell
