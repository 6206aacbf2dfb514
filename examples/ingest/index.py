"""The index: a SQLite database of its own, apart from Loom's.

Every write says what shall be there in the end, so that doing it twice does no harm: an activity
that was cut short may be run again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .parsing import Document

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    name TEXT PRIMARY KEY, sha256 TEXT, size INTEGER, lines INTEGER, words INTEGER, failure TEXT
);
CREATE TABLE IF NOT EXISTS definitions (name TEXT, file TEXT, line INTEGER);
CREATE INDEX IF NOT EXISTS definitions_by_name ON definitions (name);
CREATE INDEX IF NOT EXISTS definitions_by_file ON definitions (file);
"""


@dataclass(frozen=True)
class Summary:
    """What the index holds."""

    indexed: int
    failed: int
    lines: int
    words: int
    definitions: int


def create(path: Path) -> None:
    """Makes the index unless it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(_connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)


def put(path: Path, name: str, document: Document) -> None:
    """Enters a file, in place of what was known of it."""
    facts = (document.sha256, document.size, document.lines, document.words)
    found = [(each.name, name, each.line) for each in document.definitions]
    with _transaction(path) as connection:
        connection.execute("REPLACE INTO files VALUES (?, ?, ?, ?, ?, NULL)", (name, *facts))
        connection.execute("DELETE FROM definitions WHERE file = ?", (name,))
        connection.executemany("INSERT INTO definitions VALUES (?, ?, ?)", found)


def put_failure(path: Path, name: str, reason: str) -> None:
    """Enters a file that could not be indexed, and why."""
    with _transaction(path) as connection:
        connection.execute("REPLACE INTO files (name, failure) VALUES (?, ?)", (name, reason))
        connection.execute("DELETE FROM definitions WHERE file = ?", (name,))


def summary(path: Path) -> Summary:
    """Counts what the index holds."""
    with _transaction(path) as connection:
        indexed, failed, lines, words = connection.execute(
            "SELECT count(sha256), count(failure), total(lines), total(words) FROM files"
        ).fetchone()
        (definitions,) = connection.execute("SELECT count(*) FROM definitions").fetchone()
    return Summary(indexed, failed, int(lines), int(words), definitions)


def count(path: Path) -> int:
    """How many files are in the index; none while it is being made."""
    if path.exists():
        with suppress(sqlite3.OperationalError), _transaction(path) as connection:
            return int(connection.execute("SELECT count(*) FROM files").fetchone()[0])
    return 0


def names(path: Path) -> list[str]:
    """Every file in the index, failed ones included."""
    with _transaction(path) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM files ORDER BY name")]


def failures(path: Path) -> dict[str, str]:
    """The files that could not be indexed, and why."""
    failed = "SELECT name, failure FROM files WHERE failure IS NOT NULL ORDER BY name"
    with _transaction(path) as connection:
        return dict(connection.execute(failed).fetchall())


def _connect(path: Path) -> sqlite3.Connection:
    # FULL, or a power cut could take what Loom's history already calls done.
    connection = sqlite3.connect(path, timeout=30, isolation_level="IMMEDIATE")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def _transaction(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(_connect(path)) as connection, connection:
        yield connection
