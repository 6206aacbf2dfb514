"""Wall clock, CPU time and memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.records import Usage


class Meter:
    """Wall clock, and CPU time of this process with all its threads, while the block runs.

    Args:
        elsewhere: the CPU seconds that other processes at work for the same subject have used.
    """

    def __init__(self, elsewhere: Callable[[], float] = lambda: 0.0) -> None:
        self._elsewhere = elsewhere

    def __enter__(self) -> Self:
        self._cpu = time.process_time() + self._elsewhere()
        self._wall = time.perf_counter()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._wall
        if error_type is None:
            self.cpu_seconds = time.process_time() + self._elsewhere() - self._cpu


_STATUS: Final = Path("/proc/self/status")
_RSS_UNITS_PER_MIB: Final = 1024 * 1024 if sys.platform == "darwin" else 1024


def peak_rss_mib() -> float:
    """The most memory that this process has had."""
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _RSS_UNITS_PER_MIB
    # On Linux getrusage begins with what the parent had.
    return _from_status("VmHWM:")


def rss_mib() -> float:
    """The memory that this process has now; where the system does not tell, the most it has had."""
    return _from_status("VmRSS:") if _STATUS.exists() else peak_rss_mib()


def usage() -> Usage:
    """What this process has used until now."""
    return Usage(time.process_time(), peak_rss_mib())


def _from_status(field: str) -> float:
    lines = _STATUS.read_text().splitlines()
    [kibibytes] = (line.split()[1] for line in lines if line.startswith(field))
    return int(kibibytes) / 1024
