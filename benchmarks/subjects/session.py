"""What every subject can be asked to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Session(ABC):
    """A subject at work on one database. Whatever it does is checked, not only timed."""

    packages: tuple[str, ...]
    """The distributions that it is made of."""

    @abstractmethod
    async def one_activity(self, number: int) -> None:
        """Run a workflow of one activity, from its start until its result is here."""

    @abstractmethod
    async def sequence(self, steps: int) -> list[float]:
        """Run a workflow of so many activities, one after the other.

        Returns when each of them ran, as ``time.perf_counter()`` tells.
        """

    @abstractmethod
    async def ask(self, query: str) -> Any:
        """One value from the database, on such a connection as the subject writes with."""
