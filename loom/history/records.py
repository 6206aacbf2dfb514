"""The row that an event is kept as, in a store and in an exported history."""

from __future__ import annotations

from loom.identifiers import MessageId, Micros
from loom.values import value


@value(frozen=True, slots=True)
class EventRecord:
    """One event of a run's history. ``sequence`` starts at 1 and has no gaps."""

    sequence: int
    type: str
    schema_version: int
    recorded_at: Micros
    attributes: bytes
    payload: bytes | None = None
    message_id: MessageId | None = None
    """The message that this event came from, when it came from one: sending that message again,
    even after it was consumed, delivers nothing."""
