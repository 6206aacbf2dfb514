"""What the parts of one worker share."""

from __future__ import annotations

from dataclasses import dataclass, field

from loom.authoring.registry import Registry
from loom.history.payloads import PayloadConverter
from loom.identifiers import WorkerId
from loom.runner.clock import Clock
from loom.runner.closings import Closings
from loom.runner.leases import HeldLeases
from loom.runner.options import RunnerOptions
from loom.runner.slow_turns import SlowTurnWatch
from loom.storage.notifier import Notifier
from loom.storage.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerContext:
    """One worker: who it is, what it can run, and what it works with."""

    owner: WorkerId
    queue: str
    registry: Registry
    repository: Repository
    notifier: Notifier
    converter: PayloadConverter
    closings: Closings
    clock: Clock
    options: RunnerOptions
    slow_turns: SlowTurnWatch
    held: HeldLeases = field(default_factory=HeldLeases)
