"""Names for the identifiers and units that travel through every layer, and how they are made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Final

type WorkflowId = str
"""Chosen by the caller; at most one open run has it at a time."""

type RunId = str
"""One execution under a workflow id: 32 hexadecimal digits, never used again."""

type RunKey = int
"""The store's own short key of a run; means nothing outside one database."""

type MessageId = str
"""Chosen by a message's sender, so that sending it again delivers it once."""

type WorkerId = str
"""One worker in one process, for as long as it lives."""

type Micros = int
"""A moment, in whole microseconds since the Unix epoch (UTC); or a duration in microseconds."""

MICROS_PER_SECOND: Final = 1_000_000

END_OF_TIME: Final[Micros] = 253_402_300_799_999_999
"""The last moment that a ``datetime`` can hold; whatever waits for longer waits until then."""

MAX_ID_LENGTH: Final = 255


def in_micros(duration: object) -> Micros | None:
    """A ``timedelta`` or a number of seconds in microseconds, ``None`` for what is neither. Nothing
    lasts longer than time itself."""
    if isinstance(duration, timedelta):
        whole: float = duration // _MICROSECOND
    elif isinstance(duration, int | float) and not isinstance(duration, bool):
        whole = duration * MICROS_PER_SECOND
    else:
        return None
    # Not a number is the one thing that differs from itself.
    return None if whole != whole else round(max(-END_OF_TIME, min(whole, END_OF_TIME)))


_MICROSECOND: Final = timedelta(microseconds=1)

_random_bytes: Callable[[int], bytes] = os.urandom
"""Where ids come from; a simulation puts something in its place that it can repeat."""


def new_id() -> str:
    """A new globally unique identifier: 32 hexadecimal digits."""
    return _random_bytes(16).hex()


def derived_id(*parts: str) -> str:
    """The same identifier for the same parts, and another one for any others."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
