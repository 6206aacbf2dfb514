"""A store as the application opens it: a repository, a notifier, and how to close them.

A package adds a store by an entry point in the group ``loom.stores``, whose name is the DSN's
scheme and whose object is a ``StoreFactory``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import entry_points
from typing import Final

from loom.errors import UnsupportedStoreError
from loom.storage.notifier import Notifier
from loom.storage.repository import LeaseRepository, Repository

_GROUP: Final = "loom.stores"


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


async def open_store(dsn: str) -> Store:
    """Open the store that a DSN names, by its scheme's entry point in ``loom.stores``.

    Raises ``UnsupportedStoreError`` when no installed store serves the scheme, and whatever that
    store raises (see ``StoreFactory``).
    """
    scheme, separator, _ = dsn.partition("://")
    if not separator:
        raise UnsupportedStoreError(
            "The DSN has no scheme: it should look like sqlite:///file.db or "
            "postgresql://user@host/name."
        )
    base = scheme.partition("+")[0]
    for entry_point in entry_points(group=_GROUP):
        if entry_point.name == base:
            factory: StoreFactory = entry_point.load()
            return await factory(dsn)
    known = ", ".join(sorted(entry_points(group=_GROUP).names))
    raise UnsupportedStoreError(f"No installed store serves {base}://. There are: {known}.")
