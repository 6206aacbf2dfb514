"""What a database is asked about itself, each for one value."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

from benchmarks.subjects.session import Session

_DURABILITY: Final[Mapping[str, Mapping[str, str]]] = {
    "sqlite": {name: f"PRAGMA {name}" for name in ("journal_mode", "synchronous")},
    "postgres": {
        name: f"SHOW {name}" for name in ("fsync", "synchronous_commit", "full_page_writes")
    },
    "memory": {},
    "none": {},
}

_VERSION: Final[Mapping[str, str]] = {
    "sqlite": "SELECT sqlite_version()",
    "postgres": "SHOW server_version",
}

_SIZE: Final[Mapping[str, str]] = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgres": "SELECT pg_database_size(current_database())",
}

_SYNCHRONOUS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")


async def durability(session: Session, store: str) -> dict[str, str]:
    """The settings in force."""
    settings = {name: await session.ask(query) for name, query in _DURABILITY[store].items()}
    if store == "sqlite":
        settings["synchronous"] = _SYNCHRONOUS[settings["synchronous"]]
    return settings


async def versions(session: Session, store: str) -> dict[str, str]:
    """Of everything that has a part in the subject's work."""
    versions = {"python": platform.python_version()}
    if store in _VERSION:
        versions[store] = await session.ask(_VERSION[store])
    return versions | {package: version(package) for package in session.packages}


async def size(session: Session, store: str) -> int | None:
    """How large the database is, in bytes; ``None`` when there is none."""
    return int(await session.ask(_SIZE[store])) if store in _SIZE else None
