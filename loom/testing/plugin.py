"""The pytest plugin: fixtures, and the marker that repeats a test with crashes.

pytest loads it wherever Loom is installed, so it imports little until something of it is used.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from loom.testing.environment import WorkflowEnvironment

_MARKER: Final = "loom_crashes"
_STORES: Final = ("memory", "sqlite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("loom").addoption(
        "--loom-store",
        choices=_STORES,
        default="memory",
        help="where the environments of the fixture loom_environment keep their runs",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{_MARKER}: runs the test once as it is, and then once for each commit that its workflow "
        "environments make with a crash of the worker before that commit, and one after it.",
    )


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
def loom_environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> type[WorkflowEnvironment]:
    """``WorkflowEnvironment``, over the store that ``--loom-store`` names: in memory, or in a new
    SQLite file for each environment."""
    from loom.testing.environment import WorkflowEnvironment

    if request.config.getoption("--loom-store") == "memory":
        return WorkflowEnvironment
    make_file = _files(request.getfixturevalue("loom_sqlite_template"), tmp_path_factory)

    class SqliteEnvironment(WorkflowEnvironment):
        @classmethod
        def default_dsn(cls) -> str:
            return make_file()

    return SqliteEnvironment


@pytest.fixture
def loom_sqlite(loom_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The DSN of a new SQLite file that has Loom's schema and nothing in it."""
    return _files(loom_sqlite_template, tmp_path_factory)()


@pytest.fixture(scope="session")
def loom_sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that has Loom's schema; copying it is quicker than making another."""
    from loom.storage.sql.sqlite import open_store

    path = tmp_path_factory.mktemp("loom") / "template.db"

    async def make() -> None:
        await (await open_store(f"sqlite:///{path}")).close()

    # In a thread: an event loop may be running in this one.
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, make()).result()
    return path


def _files(template: Path, folders: pytest.TempPathFactory) -> Callable[[], str]:
    folder, numbers = folders.mktemp("loom"), count(1)

    def make() -> str:
        path = folder / f"{next(numbers)}.db"
        shutil.copyfile(template, path)
        return f"sqlite:///{path}"

    return make
