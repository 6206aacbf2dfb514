"""An open application on each built-in store in turn."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest

import loom
from tests.databases import fresh_database


@pytest.fixture
async def app(any_dsn: str) -> AsyncIterator[loom.Loom]:
    async with loom.Loom(any_dsn) as app:
        yield app


@pytest.fixture
def new_dsn(any_dsn: str, request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Gives a DSN of the same store with nothing in it, again and again."""
    numbers = count()

    def make() -> str:
        number = next(numbers)
        if any_dsn.startswith("memory"):
            return f"{any_dsn}-{number}"
        if any_dsn.startswith("sqlite"):
            template = request.getfixturevalue("sqlite_template")
            shutil.copyfile(template, f"{any_dsn.removeprefix('sqlite:///')}-{number}")
            return f"{any_dsn}-{number}"
        server = request.getfixturevalue("postgres_server")
        template = request.getfixturevalue("postgres_template")
        return str(databases.enter_context(fresh_database(server, template)))

    with ExitStack() as databases:
        yield make
