"""The times that an activity may run out of."""

from __future__ import annotations

from enum import StrEnum


class TimeoutType(StrEnum):
    """Which of an activity's times has run out."""

    START_TO_CLOSE = "start_to_close"
    """One attempt took too long."""
    SCHEDULE_TO_START = "schedule_to_start"
    """No worker began with it."""
    SCHEDULE_TO_CLOSE = "schedule_to_close"
    """All its attempts, and the waits between them, took too long."""
    HEARTBEAT = "heartbeat"
    """An attempt was silent for too long."""
