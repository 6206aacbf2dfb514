"""What a subject can be asked to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from benchmarks.meter import Meter
from benchmarks.processes import OtherProcess
from benchmarks.records import Usage


class Session(ABC):
    """A subject at work on one database. Whatever it does is checked, not only timed.

    A subject offers the workloads of the scenarios that it is registered for; the others stay as
    they are here.
    """

    packages: tuple[str, ...]
    """The distributions that it is made of."""

    def __init__(self) -> None:
        self.processes: list[OtherProcess] = []
        """Those at work for it beside this one."""

    @abstractmethod
    async def ask(self, query: str) -> Any:
        """One value from the database, on such a connection as the subject writes with."""

    def meter(self) -> Meter:
        """Measures this process and the others."""
        return Meter(lambda: sum(usage.cpu_seconds for usage in self.usages()))

    def usages(self) -> list[Usage]:
        """What the other processes have used until now."""
        return [process.usage() for process in self.processes]

    # --- workloads ---

    async def one_activity(self, number: int) -> None:
        """Run a workflow of one activity, from its start until its result is here."""
        raise NotImplementedError

    async def sequence(self, steps: int) -> list[float]:
        """Run a workflow of so many activities, one after the other.

        Returns when each of them ran, as ``time.perf_counter()`` tells.
        """
        raise NotImplementedError

    async def fan_out(self, kind: str, n: int) -> None:
        """Run a workflow of so many ``activities`` or ``children``, all at once."""
        raise NotImplementedError

    async def signal_round_trip(self) -> float:
        """Send a signal to a run that waits for it and then ends.

        Returns the seconds from sending it until the run's result is here.
        """
        raise NotImplementedError

    async def open_query(self) -> Callable[[], Awaitable[None]]:
        """Open a run that waits; returns what asks it something."""
        raise NotImplementedError

    async def sleeper(self, until: float) -> Callable[[], Awaitable[float]]:
        """Start a run that sleeps until a moment, as ``time.time()`` tells, and then ends.

        Returns what waits for its result, and tells how many seconds after that moment it came.
        """
        raise NotImplementedError

    async def interrupted(self, n: int, steps: int, left: int) -> float:
        """Open so many runs of ``steps`` activities each, and kill their worker with SIGKILL when
        so many are left in each.

        Returns the seconds until another worker may take them over.
        """
        raise NotImplementedError

    async def resumed(self) -> None:
        """Returns when all of those have ended, in another worker process."""
        raise NotImplementedError

    async def asleep(self, n: int) -> Usage:
        """Open so many runs that sleep for long, in a process which then ends.

        Returns what that process has used.
        """
        raise NotImplementedError

    async def start_worker(self) -> Mapping[str, float]:
        """Start a worker process, and wait until it has done a workflow of one activity.

        Returns its memory then, as ``rss_mib``.
        """
        raise NotImplementedError

    async def long_history(self, events: int) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Make a run with so many events; returns by name what is then done with its history."""
        raise NotImplementedError

    async def history_to_replay(self, kind: str, n: int) -> Callable[[], Awaitable[None]]:
        """Make the history of a workflow of so many activities; returns what replays it.

        Args:
            kind: whether the activities are ``sequential`` or ``parallel``.
        """
        raise NotImplementedError
