"""How a worker behaves, in the units that the runner computes with."""

from __future__ import annotations

from dataclasses import dataclass

from loom.authoring.forbidden import GuardMode
from loom.identifiers import MICROS_PER_SECOND, Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """All durations in microseconds; the settings of the same names are in seconds."""

    lease: Micros = 10 * MICROS_PER_SECOND
    """How long others wait before they take over what a silent worker holds."""
    stall: Micros = 30 * MICROS_PER_SECOND
    """How long the event loop may be stuck before its leases are no longer renewed."""
    poll: Micros = MICROS_PER_SECOND
    """How often, at the least, an idle worker looks for work by itself."""
    shutdown_grace: Micros = MICROS_PER_SECOND // 2
    """How long running activities may go on when the worker is asked to stop."""
    concurrency: int = 1_000
    """How many ``async`` activities run at a time."""
    threads: int = 50
    """How many plain-function activities run at a time, each in a thread."""
    processes: int = 4
    """How many activities run at a time that have each a process to themselves."""
    max_owned_runs: int = 1_000
    """How many runs are worked on at a time."""
    max_cached_runs: int = 1_000
    """How many idle runs stay in memory, so that their next turn needs no replay."""
    max_lost_attempts: int = 5
    """How many workers may die over one activity before it counts as failed."""
    max_lost_owners: int = 3
    """How many workers in a row may die, or hang, with one run before it is set apart."""
    guards: GuardMode = "error"
    """What is done about workflow code that would not replay."""
    slow_turn: Micros = 2 * MICROS_PER_SECOND
    """How long a turn may take before it is reported; zero turns that off."""
    gc_threshold: int = 50_000
    """How many more objects are made than freed before the garbage collector looks; zero leaves it
    alone."""
