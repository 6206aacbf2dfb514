"""Who is measured: Loom, and what it is held against."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from importlib import import_module

from benchmarks.subjects.session import Session

SUBJECTS: dict[str, frozenset[str]] = {
    "loom": frozenset({"sqlite", "postgres", "memory"}),
    "limit": frozenset({"sqlite", "postgres"}),
}
"""Each with the stores that it runs on. The first is the one that the others are compared with."""


def subjects_on(store: str) -> list[str]:
    """The subjects that run on a store."""
    return [name for name, stores in SUBJECTS.items() if store in stores]


def open_session(subject: str, dsn: str, concurrency: int) -> AbstractAsyncContextManager[Session]:
    """A subject, ready to work on that database.

    Its module is imported here alone, so that no subject's memory is counted as another's.
    """
    module = import_module(f"benchmarks.subjects.{subject}")
    session: AbstractAsyncContextManager[Session] = module.open_session(dsn, concurrency)
    return session
