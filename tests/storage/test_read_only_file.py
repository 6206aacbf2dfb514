"""A SQLite file that cannot be written to can be read, and who writes is told at once."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import loom

SCRIPT = Path(__file__).with_name("read_only_process.py")


@pytest.fixture
def file(sqlite_template: Path) -> Iterator[Path]:
    # Not below pytest's own folder, into which nobody else can look.
    folder = Path(tempfile.mkdtemp(prefix="loom-read-only-"))
    try:
        file = folder / "loom.db"
        shutil.copyfile(sqlite_template, file)
        asyncio.run(start_one(f"sqlite:///{file}"))
        file.chmod(0o444)
        yield file
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


async def start_one(dsn: str) -> None:
    async with loom.Loom(dsn) as app:
        await app.start("Order", id="order")


def outcomes(file: Path) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOOM_")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), f"sqlite:///{file}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_reads_work_and_writes_are_refused_at_once(file: Path) -> None:
    file.parent.chmod(0o777)
    told = outcomes(file)
    assert told.pop("list") == told.pop("history") == "ok"
    assert set(told) == {"start", "signal", "terminate"}
    for what in told.values():
        assert what.startswith("StoreError")
        assert "cannot be written to" in what


def test_in_a_folder_that_cannot_be_written_to_everything_is_refused(file: Path) -> None:
    """SQLite needs a file beside it even for reading."""
    file.parent.chmod(0o555)
    for what in outcomes(file).values():
        assert what.startswith("StoreError")
        assert "the file, or its folder, cannot be written to" in what
