"""What the limit needs of a database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from benchmarks.subjects.limit.rows import Rows


class Writer(ABC):
    """A connection that writes."""

    driver: str | None
    """Its distribution, unless it comes with Python."""

    @abstractmethod
    async def write(self, rows: Rows) -> None:
        """Write all of it in one durable transaction."""

    @abstractmethod
    async def ask(self, query: str) -> Any:
        """One value from the database."""
