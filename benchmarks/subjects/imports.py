"""A subject of which nothing is wanted but to be imported, by other processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.subjects.session import Session


class Imports(Session):
    """The statements by which programs import it."""

    def __init__(self, package: str, statements: Sequence[str]) -> None:
        super().__init__()
        self.packages = (package,)
        self.statements = statements

    async def ask(self, query: str) -> Any:
        raise AssertionError("there is no database")


@asynccontextmanager
async def open_imports(package: str, statements: Sequence[str]) -> AsyncIterator[Session]:
    yield Imports(package, statements)
