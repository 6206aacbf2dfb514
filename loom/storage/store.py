"""A store as the application opens it: a repository, a notifier, and how to close them.

A package adds a store by an entry point in the group ``loom.stores``, whose name is the DSN's
scheme and whose object is a ``StoreFactory``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from loom.storage.notifier import Notifier
from loom.storage.repository import LeaseRepository, Repository


class Store(ABC):
    """One open database."""

    repository: Repository
    notifier: Notifier

    @abstractmethod
    def lease_repository(self) -> AbstractAsyncContextManager[LeaseRepository]:
        """A connection of its own for renewing leases, usable from another thread's event loop."""

    @abstractmethod
    async def close(self) -> None:
        """Give back every connection. Closing twice is fine."""


type StoreFactory = Callable[[str], Awaitable[Store]]
"""Opens the store that a DSN names.

Raises ``ConfigurationError`` for a malformed DSN, ``StoreUnavailableError`` when the database does
not answer and ``SchemaVersionError`` when its schema is not the one that this Loom works with.
"""
