"""Runs that may be what their owners were lost of.

Code of a workflow that ends its process, or keeps its event loop for good, takes each worker with
it that takes the run. All that such a worker held is taken over, and only one of these runs is to
blame. So those that were taken over twice are tried one at a time; and one that even then goes on
losing its owners is set apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from loom.history.status import RunStatus
from loom.identifiers import MICROS_PER_SECOND, Micros, RunKey
from loom.runner.owned_run import OwnedRun
from loom.storage.records import RunRecord

_WAITS: Final = (30, 300, 3_000, 30_000, 86_400)
"""Seconds for which a run is left alone, each time for longer."""


class Suspects:
    """Those that a worker has claimed and whose code has yet to come to rest.

    Args:
        limit: how many owners may be lost with a run before it is set apart.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._on_trial: set[RunKey] = set()
        self.on_acquitted: Callable[[], None] = lambda: None
        """Told when the last one has shown that it does no harm, or is gone."""

    def __bool__(self) -> bool:
        return bool(self._on_trial)

    def add(self, owned: OwnedRun) -> None:
        """Look at a run that was claimed."""
        if owned.run.lost_owners:
            self._on_trial.add(owned.run_key)

    def acquit(self, owned: OwnedRun) -> None:
        """Its code has come to rest, and this worker lives."""
        if owned.run_key in self._on_trial:
            self._on_trial.discard(owned.run_key)
            if not self._on_trial:
                self.on_acquitted()

    def is_too_dangerous(self, owned: OwnedRun) -> bool:
        """Whether it is to be set apart, as it was claimed. One that was is tried once more when
        its wait is over, and has to wait for longer when that goes as before."""
        return owned.run.lost_owners >= self._limit and (owned.owner_lost or not owned.blocked)

    def sentence(self, run: RunRecord) -> tuple[str, Micros]:
        """Why it is set apart, and for how long. Not for long at first, since it may have been
        there by chance; and then it is tried rarely, since that may cost a worker and all that
        runs in it."""
        # Some of its owners may have been lost before they could set it apart, and not of it.
        again = run.lost_owners - self._limit if run.status is RunStatus.BLOCKED else 0
        wait = _WAITS[min(again, len(_WAITS) - 1)] * MICROS_PER_SECOND
        return _REASON.format(run.lost_owners), wait


_REASON: Final = """\
{} workers in a row were lost while they held this run, so its code may be what ends them.
That does whatever ends its process (os._exit, a crash in a C extension, more memory than there
is) or keeps its event loop for longer than LOOM_STALL_SECONDS; the logs of the workers and of the
system tell which. Of the turn that was under way nothing is in its history.
When its code is mended, `loom retry` has it tried at once; else it is tried ever more rarely."""
