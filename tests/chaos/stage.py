"""Where a trial takes place: a database of its own, processes, clients, and the records of all."""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import loom
from loom.storage.sql import migrations
from tests.chaos import shim
from tests.chaos.clients import Client, ClientLog, insist, opened
from tests.chaos.judge import dump_of, finish, judge
from tests.chaos.ledger import Ledger
from tests.chaos.nursery import ROOT, Child, Nursery, nursery
from tests.chaos.releases import THIS, ReleaseUnavailable, lay_out
from tests.chaos.standstill import standstills
from tests.conditions import eventually
from tests.databases import Databases, beside, database_name, run_apart
from tests.plans import PLANS, with_plan
from tests.postgres import (
    LocalServer,
    PostgresUnavailable,
    local_binaries,
    local_server,
    wheel_binaries,
)

LEASE = 0.5
"""Seconds; the shortest there is."""

STORES = ("sqlite", "postgres")

TRIES = 3

STANDSTILL = 5.0
"""Seconds for which a machine may not answer, being busy; beyond that it was stopped."""

FAILED = 1
"""The exit code of a child that an exception has ended."""


@dataclass
class Report:
    """What came of the trials of one scenario on one store."""

    scenario: str
    store: str
    trials: int = 0
    void: int = 0
    """How many count for nothing, since the machine stood still."""
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the end of a fault until work moved."""

    def __str__(self) -> str:
        if not self.trials:
            return f"{self.scenario} on {self.store}: not tried in this time"
        faults = ", ".join(f"{count} {fault}" for fault, count in sorted(self.faults.items()))
        text = f"{self.scenario} on {self.store}: {self.trials} trials, {faults}; "
        text += f"{len(self.violations)} violations"
        if self.void:
            text += f"; {self.void} void"
        if self.recoveries:
            middle, worst = statistics.median(self.recoveries), max(self.recoveries)
            text += f"; work moved after {middle:.2f} s (median), {worst:.2f} s (worst)"
        return text

    def add(self, trial: Report) -> None:
        self.trials += trial.trials
        self.faults.update(trial.faults)
        self.violations += trial.violations
        self.recoveries += trial.recoveries


class Stage:
    """One trial."""

    def __init__(
        self,
        grounds: Grounds,
        folder: Path,
        dsn: str,
        report: Report,
        seed: int,
        is_short: bool,
    ) -> None:
        self.grounds = grounds
        self.folder = folder
        self.dsn = dsn
        self.report = report
        self.chance = random.Random(seed)
        self.seed = seed
        self.is_short = is_short
        self.has_violations = False
        self.log = ClientLog(folder / "clients")
        self.ledger = Ledger(folder / "ledger")
        self._children: list[Child] = []

    @property
    def is_sqlite(self) -> bool:
        return self.dsn.startswith("sqlite")

    @property
    def file(self) -> Path:
        """The SQLite file."""
        return Path(self.dsn.removeprefix("sqlite:///"))

    def times(self, many: int) -> int:
        """So many by hand, and only some of them where it must not take long."""
        return max(1, many // 4) if self.is_short else many

    def fault(self, kind: str) -> None:
        self.report.faults[kind] += 1

    def violation(self, what: str) -> None:
        self.has_violations = True
        self.report.violations.append(f"[seed {self.seed}] {what} ({self.folder})")

    def told(self, what: str) -> int:
        """How often children have said so."""
        path = self.folder / "told"
        return path.read_text().splitlines().count(what) if path.exists() else 0

    async def child(self, role: str, *, release: str = THIS, **order: Any) -> Child:
        """A process, ready; what the order does not say is as the stage has it."""
        order = {
            "dsn": self.dsn,
            "ledger": str(self.ledger.path),
            "log": str(self.log.path),
            "seed": self.chance.randrange(1 << 30),
            "name": f"child{len(self._children)}",
            "talked": str(self.folder / f"talked{len(self._children)}"),
            "watch": str(self.folder / "loom.db"),
            "settings": {
                "lease_seconds": LEASE,
                "max_lost_attempts": 10_000,
                "max_lost_owners": 10_000,
            },
        } | order
        child = self.grounds.nursery(release).fork(role, **order)
        if "requests" in order:
            child.talked = Path(str(order["talked"]))
        self._children.append(child)
        return await child.ready()

    async def end_of_talk(self, *children: Child) -> None:
        """Until the clients of those that live have said all that they had to say."""
        for child in children:
            talked = child.talked
            assert talked is not None
            await eventually(lambda child=child, t=talked: t.exists() or child.has_ended, 120)

    async def worker(self, **order: Any) -> Child:
        return await self.child("work", **order)

    async def clear(self) -> None:
        """Let no child live. Whatever befalls one, none of them ends by an error of its own."""
        for child in self._children:
            await eventually(lambda child=child: bool(child.pid) or child.has_ended)
            if child.exit_code == FAILED:
                self.violation(f"{child.number} ended by an error: see {self.grounds.log}")
            await child.kill()

    @contextmanager
    def empty_database(self) -> Iterator[str]:
        """Another database of the same kind, without a schema."""
        if self.is_sqlite:
            yield f"sqlite:///{self.folder / 'loom.db-empty'}"
            return
        server = self.grounds.server
        assert server is not None
        with closing(Databases(server.dsn)) as databases, databases.fresh() as dsn:
            yield dsn

    @asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[loom.Loom, Client]]:
        """An application of this process and a client that uses it."""
        async with opened(loom.Loom(self.dsn, settings=loom.Settings())) as app:
            yield app, Client(app, self.log)

    async def close(self, app: loom.Loom, **evidence: Any) -> None:
        """The quiet phase: everything must finish; then the records are judged."""
        before = await insist(lambda: dump_of(self.dsn))
        await finish(app, self.log)
        await self.judge(earlier=[before], **evidence)

    async def judge(self, **evidence: Any) -> None:
        for violation in await judge(self.dsn, self.log, self.ledger, **evidence):
            self.violation(violation)


type Scenario = Callable[[Stage], Awaitable[None]]


class Grounds:
    """Where stages are set up: the server, the template of a database, the nurseries."""

    def __init__(
        self, folder: Path, stack: ExitStack, template: Path, server: LocalServer | None
    ) -> None:
        self._folder = folder
        self.log = folder / "log"
        """What children complain of."""
        self._stack = stack
        self._shim = shim.build(folder)
        self._nurseries: dict[str, Nursery] = {}
        self._template = template
        self.server = server
        self._stages = 0

    def nursery(self, release: str) -> Nursery:
        """Where that release's processes come from."""
        if release not in self._nurseries:
            tree = ROOT if release == THIS else lay_out(release, self._folder)
            made = nursery(self.log, self._shim, tree)
            self._nurseries[release] = self._stack.enter_context(made)
        return self._nurseries[release]

    async def play(
        self, scenario: Scenario, report: Report, seed: int, *, is_short: bool = False
    ) -> None:
        """One trial of a scenario, and another where the machine stood still meanwhile: whatever
        ran out of time then has had none."""
        for _ in range(TRIES):
            trial = Report(report.scenario, report.store)
            with standstills() as standstill:
                await self._play(scenario, trial, seed, is_short=is_short)
            if standstill.longest < STANDSTILL:
                report.add(trial)
                return
            report.void += 1

    async def _play(self, scenario: Scenario, report: Report, seed: int, *, is_short: bool) -> None:
        self._stages += 1
        folder = self._folder / f"stage{self._stages}"
        folder.mkdir()
        stage = None
        try:
            async with beside(self._database(folder, report.store, seed)) as dsn:
                stage = Stage(self, folder, dsn, report, seed, is_short)
                try:
                    await scenario(stage)
                except ReleaseUnavailable:
                    raise
                except Exception as error:
                    # Whatever a client or this stage itself stumbles over is a finding too.
                    stage.violation("".join(traceback.format_exception(error)))
                finally:
                    await stage.clear()
        finally:
            report.trials += 1
            if stage is None or not stage.has_violations:
                shutil.rmtree(folder)

    @contextmanager
    def _database(self, folder: Path, store: str, seed: int) -> Iterator[str]:
        if store == "sqlite":
            shutil.copyfile(self._template, folder / "loom.db")
            yield f"sqlite:///{folder / 'loom.db'}"
            return
        assert self.server is not None
        with closing(Databases(self.server.dsn)) as databases, databases.fresh(TEMPLATE) as dsn:
            yield with_plan(dsn, list(PLANS)[seed % len(PLANS)])


TEMPLATE = "template_loom"


@contextmanager
def grounds(stores: tuple[str, ...] = STORES) -> Iterator[Grounds]:
    """Everything that trials need, gone afterwards. A stage with a violation is left behind."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="loom-chaos-"))
        template = folder / "template.db"
        run_apart(migrations.upgrade(f"sqlite:///{template}"))
        server = _server(stack) if "postgres" in stores else None
        yield Grounds(folder, stack, template, server)
        if not any(folder.glob("stage*")):
            shutil.rmtree(folder)


def server_binaries() -> Path:
    """Those of Postgres, installed here or in a wheel."""
    try:
        return local_binaries()
    except PostgresUnavailable:
        return wheel_binaries()


def _server(stack: ExitStack) -> LocalServer:
    """A server that nobody else minds to see crash, with a migrated template."""
    server = stack.enter_context(local_server(server_binaries()))
    with closing(Databases(server.dsn)) as databases, databases.fresh() as dsn:
        run_apart(migrations.upgrade(dsn))
        databases.copy(database_name(dsn), TEMPLATE)
    return server
