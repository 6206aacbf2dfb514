"""Behaviours of the engine that runs got to know as something else, each switched by a flag.

What a run asks for must be the same on every replay, with every later Loom. So when the engine
itself shall do something in another way, that way gets a flag: runs that are started from then on
have it in their ``WORKFLOW_STARTED``, and every history without it replays as it was recorded. A
flag is never renamed or given another meaning.

A release knows a flag before the next one starts runs with it, so that the workers of two releases
that follow each other can take each other's runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Final

from loom.errors import HistoryError


class Flag(StrEnum):
    """A behaviour of the engine that some recorded histories do not have."""

    SIGNAL_BEFORE_TIMER = "signal-before-timer"
    """A wait for a signal that is there already starts no timer for its timeout."""

    UNFIT_SIGNALS_DROPPED = "unfit-signals-dropped"
    """A wait for a signal passes over one whose payload does not fit the type that is wanted."""


NEW_RUN_FLAGS: Final[tuple[str, ...]] = (Flag.SIGNAL_BEFORE_TIMER, Flag.UNFIT_SIGNALS_DROPPED)
"""What a run is started with today: sorted, and all known to the last release too."""


def known_flags(recorded: Iterable[str]) -> frozenset[Flag]:
    """The flags that a run was started with.

    Raises ``HistoryError`` for one that this version of Loom does not know, since the run cannot be
    replayed without it.
    """
    return _known(frozenset(recorded))


@lru_cache
def _known(names: frozenset[str]) -> frozenset[Flag]:
    unknown = sorted(names.difference(Flag))
    if unknown:
        raise HistoryError(
            f"The run was started by a newer version of Loom, whose behaviour {unknown[0]!r} this "
            "one does not know. Upgrade Loom on this worker."
        )
    return frozenset(map(Flag, names))
