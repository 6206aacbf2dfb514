"""The pytest plugin: fixtures, and the marker that repeats a test with crashes.

pytest loads it wherever Loom is installed, so it imports little until something of it is used.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import pytest

from loom.testing.stores import default_store

if TYPE_CHECKING:
    from loom.testing.environment import WorkflowEnvironment

_MARKER: Final = "loom_crashes"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("loom").addoption(
        "--loom-store",
        metavar="STORE",
        default="memory",
        help="where workflow environments keep their runs when they are not told: memory, sqlite "
        "for a new file each, or the DSN of a database that they all share",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{_MARKER}: runs the test once as it is, and then once for each commit that its workflow "
        "environments make with a crash of the worker before that commit, and one after it.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Let environments that are not told where to keep their runs do as ``--loom-store`` says."""
    store: str = session.config.getoption("--loom-store")
    if store == "memory":
        return (yield)
    with TemporaryDirectory(prefix="loom-") as folder:
        make_dsn = SqliteFiles(Path(folder)).new if store == "sqlite" else lambda: store
        with default_store(make_dsn):
            return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a marked test as often as it has crashes."""
    marker = item.get_closest_marker(_MARKER)
    if marker is None:
        return None
    if marker.args or marker.kwargs:
        raise pytest.UsageError(f"{item.nodeid}: the marker {_MARKER} takes no arguments.")
    # Imported here: a suite that has no such test should not have to load the engine.
    from loom.testing.crash_runs import run_with_crashes

    run_with_crashes(item, nextitem)
    return True


@pytest.fixture
def loom_environment() -> type[WorkflowEnvironment]:
    """The class ``loom.testing.WorkflowEnvironment``."""
    from loom.testing.environment import WorkflowEnvironment

    return WorkflowEnvironment


@pytest.fixture
def loom_sqlite(loom_sqlite_files: SqliteFiles) -> str:
    """The DSN of a new SQLite file that has Loom's schema and nothing in it."""
    return loom_sqlite_files.new()


@pytest.fixture(scope="session")
def loom_sqlite_files(tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    """Makes such files."""
    return SqliteFiles(tmp_path_factory.mktemp("loom"))


class SqliteFiles:
    """Migrated SQLite files: one that is made, and copies of it, which is quicker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template.db"
        self._numbers = count(1)

    def new(self) -> str:
        """The DSN of another one."""
        if not self._template.exists():
            # In a thread: an event loop may be running in this one.
            with ThreadPoolExecutor(max_workers=1) as thread:
                thread.submit(asyncio.run, _make(self._template)).result()
        path = self._folder / f"{next(self._numbers)}.db"
        shutil.copyfile(self._template, path)
        return f"sqlite:///{path}"


async def _make(path: Path) -> None:
    # Imported here: it loads the drivers and, to migrate, Alembic.
    from loom.storage.sql.sqlite import open_store

    await (await open_store(f"sqlite:///{path}")).close()
