"""Who is measured: Loom, and what it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from benchmarks.records import Case
from benchmarks.subjects.imports import open_imports
from benchmarks.subjects.session import Session

IMPORT: Final = "import"
"""The scenario that must not have the subject here already."""

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
    most: int | None = None
    """So many operations are enough: it is slow. Larger cases are cut short where that changes
    nothing but how long they take, and are left out elsewhere."""
    package: str = ""
    imports: Sequence[str] = ()
    """How programs import it, if that is to be measured."""

    @property
    def is_installed(self) -> bool:
        return self.needs is None or find_spec(self.needs) is not None


OWN: dict[str, Subject] = {
    "loom": Subject(
        "benchmarks.subjects.loom",
        ALL_STORES,
        package="loom-durable",
        imports=(
            "import loom",
            "from loom import workflow, activity",
            "from loom import Loom",
        ),
    ),
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

_BY_DBOS = frozenset({"throughput", "sequential", "fanout", "latency", "signal"})

PEERS: dict[str, Subject] = {
    "dbos": Subject(
        "benchmarks.peers.dbos",
        DATABASES | {"none"},
        _BY_DBOS | {"import"},
        needs="dbos",
        most=2_000,
        package="dbos",
        imports=("from dbos import DBOS",),
    ),
    "dbos-wal": Subject(
        "benchmarks.peers.dbos",
        frozenset({"sqlite"}),
        _BY_DBOS,
        opener="open_wal_session",
        needs="dbos",
        most=2_000,
    ),
    "absurd": Subject(
        "benchmarks.peers.absurd",
        frozenset({"postgres"}),
        frozenset({"throughput", "sequential", "latency", "signal"}),
        needs="absurd_sdk",
        most=2_000,
    ),
    "temporal": Subject(
        "benchmarks.peers.temporal",
        frozenset({"none"}),
        frozenset({"replay", "import"}),
        needs="temporalio",
        most=5_000,
        package="temporalio",
        imports=("from temporalio import activity, workflow", "import temporalio.worker"),
    ),
}
"""Other systems, which are there when they are asked for and installed."""

SUBJECTS: dict[str, Subject] = OWN | PEERS


def open_session(subject: str, dsn: str, case: Case) -> AbstractAsyncContextManager[Session]:
    """A subject, ready to work on that database.

    Its module is imported here alone, so that no subject's memory is counted as another's.
    """
    known = SUBJECTS[subject]
    if case.scenario == IMPORT:
        return open_imports(known.package, known.imports)
    opener = getattr(import_module(known.module), known.opener)
    session: AbstractAsyncContextManager[Session] = opener(dsn, case)
    return session
