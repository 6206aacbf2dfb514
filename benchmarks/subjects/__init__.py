"""Who is measured: Loom, and what it is held against."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from benchmarks.records import Case
from benchmarks.subjects.session import Session

ALL_STORES = frozenset({"sqlite", "postgres", "memory", "none"})
DATABASES = frozenset({"sqlite", "postgres"})


@dataclass(frozen=True, slots=True)
class Subject:
    """What the suite must know of a subject before it is imported."""

    module: str
    stores: frozenset[str] = DATABASES
    scenarios: frozenset[str] | None = None
    """``None``: all of them."""
    opener: str = "open_session"
    needs: str | None = None
    """The module that must be installed."""

    def runs(self, scenario: str, store: str, case: Case) -> bool:
        known = self.scenarios is None or scenario in self.scenarios
        # A worker in another process is what Loom alone has an adapter for.
        alone = self.scenarios is not None and case.processes is not None
        return known and store in self.stores and not alone

    @property
    def is_installed(self) -> bool:
        return self.needs is None or find_spec(self.needs) is not None


OWN: dict[str, Subject] = {
    "loom": Subject("benchmarks.subjects.loom", ALL_STORES),
    "limit": Subject(
        "benchmarks.subjects.limit",
        scenarios=frozenset({"throughput", "sequential", "latency"}),
    ),
    "limit-awaited": Subject(
        "benchmarks.subjects.limit",
        scenarios=frozenset({"throughput", "sequential", "latency"}),
        opener="open_awaited_session",
    ),
}
"""Always there. The first is the one that the others are compared with."""

PEERS: dict[str, Subject] = {}
"""Other systems, which are there when they are asked for and installed."""

SUBJECTS: dict[str, Subject] = OWN | PEERS


def open_session(subject: str, dsn: str, case: Case) -> AbstractAsyncContextManager[Session]:
    """A subject, ready to work on that database.

    Its module is imported here alone, so that no subject's memory is counted as another's.
    """
    known = SUBJECTS[subject]
    opener = getattr(import_module(known.module), known.opener)
    session: AbstractAsyncContextManager[Session] = opener(dsn, case)
    return session
