"""Durations as people give them: a ``timedelta`` or a number of seconds, checked in one place."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from loom.errors import DurationError
from loom.identifiers import MICROS_PER_SECOND, Micros, in_micros

type Duration = timedelta | float
"""A ``timedelta``, or a number of seconds."""


def micros(what: str, given: object) -> Micros:
    """A duration in microseconds; what is longer than time is as long as that.

    ``what`` names it in the ``DurationError`` for something that is no duration.
    """
    found = in_micros(given)
    if found is None:
        raise DurationError(f"{what} must be a timedelta or a number of seconds, not {given!r}.")
    return found


def positive_micros(what: str, given: object) -> Micros:
    """One that is at least a microsecond. Raises ``DurationError``."""
    found = micros(what, given)
    if found <= 0:
        raise DurationError(f"{what} must be greater than 0, not {given!r}.")
    return found


def whole_micros(what: str, given: object) -> Micros:
    """One that is not negative. Raises ``DurationError``."""
    found = micros(what, given)
    if found < 0:
        raise DurationError(f"{what} must not be negative, as {given!r} is.")
    return found


def timeout_seconds(what: str, given: object) -> float | None:
    """How long to wait, in seconds; ``None`` for however long it takes. As with asyncio, less than
    nothing is over at once. Raises ``DurationError``."""
    return None if given is None else micros(what, given) / MICROS_PER_SECOND


def positive(what: str, given: object) -> timedelta | None:
    """An option as a ``timedelta``, if it was given. Raises ``DurationError``."""
    return None if given is None else positive_micros(what, given) * _MICROSECOND


def shown(seconds: float | None) -> str:
    """How long something was waited for, for people."""
    return "for ever" if seconds is None else f"{seconds:g} s"


_MICROSECOND: Final = timedelta(microseconds=1)
