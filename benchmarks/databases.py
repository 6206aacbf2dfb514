"""Databases to measure on: each sample gets a fresh one, with Loom's schema and nothing in it."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

from loom.storage.sql import migrations
from tests.databases import database_name, fresh_database
from tests.postgres import LocalServer, PostgresUnavailable, local_binaries, wheel_binaries

STORES: Final = ("sqlite", "postgres", "memory")

type Fresh = Callable[[], AbstractContextManager[str]]
"""Gives the DSN of a new database, which goes away at the end of the block."""


def scratch_folder() -> Path:
    """Where temporary files are on a real disk: ``/tmp`` is often in memory."""
    chosen = os.environ.get("TMPDIR") or "/var/tmp"
    return Path(chosen if Path(chosen).is_dir() else tempfile.gettempdir())


def file_system(folder: Path) -> str:
    """The kind of file system that a folder is on, where the machine tells."""
    with suppress(OSError):
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        around = [m for m in mounts if folder.resolve().is_relative_to(m[1])]
        return max(around, key=lambda mount: len(mount[1]))[2]
    return "unknown"


@contextmanager
def databases(store: str, dsn: str | None) -> Iterator[Fresh]:
    """A source of databases of one kind. ``dsn`` names a Postgres server to use.

    Raises ``PostgresUnavailable`` when there is none and none can be started.
    """
    if store == "none":
        yield _nowhere
    elif store == "memory":
        yield _in_memory
    elif store == "sqlite":
        with tempfile.TemporaryDirectory(prefix="loom-benchmarks-", dir=scratch_folder()) as home:
            template = Path(home) / "template.db"
            asyncio.run(migrations.upgrade(f"sqlite:///{template}"))
            yield lambda: _sqlite_file(template)
    else:
        with _server(dsn) as server, fresh_database(server) as template_dsn:
            asyncio.run(migrations.upgrade(template_dsn))
            yield lambda: fresh_database(server, database_name(template_dsn))


@contextmanager
def _nowhere() -> Iterator[str]:
    yield ""


@contextmanager
def _in_memory() -> Iterator[str]:
    yield f"memory://{uuid.uuid4().hex}"


@contextmanager
def _sqlite_file(template: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=template.parent) as home:
        path = shutil.copyfile(template, Path(home) / "loom.db")
        yield f"sqlite:///{path}"


# --- Postgres ------------------------------------------------------------------------------------


@contextmanager
def _server(dsn: str | None) -> Iterator[str]:
    """The server that was named, or one of our own on the real disk."""
    if dsn is not None:
        yield dsn
        return
    with tempfile.TemporaryDirectory(
        prefix="loom-benchmarks-", dir=scratch_folder(), ignore_cleanup_errors=True
    ) as home:
        # Its settings are Postgres's own where durability is concerned.
        server = LocalServer(_binaries(), Path(home))
        try:
            server.create()
            yield server.dsn
        finally:
            with suppress(PostgresUnavailable):
                server.stop("immediate")


def _binaries() -> Path:
    try:
        return local_binaries()
    except PostgresUnavailable:
        return wheel_binaries()
