"""Events of a history in one line each, as ``loom show`` and ``loom debug`` print them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import loom
from loom.cli.output import local_time, one_line
from loom.identifiers import MICROS_PER_SECOND


def what_happened(event: loom.HistoryEvent) -> str:
    """An event's attributes and its value, in one line."""
    parts = [f"{key}={_attribute(key, value)}" for key, value in event.attributes.items()]
    if event.has_value:
        parts.append(one_line(event.value))
    return " ".join(parts)


def exact_time(moment: datetime) -> str:
    """A moment on the reader's own clock, to the millisecond."""
    return f"{local_time(moment)}.{moment.microsecond // 1000:03}"


def _attribute(key: str, value: Any) -> str:
    if key.endswith("_at") and isinstance(value, int):
        moment = datetime.fromtimestamp(value / MICROS_PER_SECOND, UTC)
        return exact_time(moment).replace(" ", "T")
    return one_line(value, 60)
