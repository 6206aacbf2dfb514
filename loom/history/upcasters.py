"""Bringing stored events of older schemas up to date.

Stored events replay forever. When an event type changes its attributes, its ``schema_version``
grows by one and a function here, under the type's name and the *old* version, turns old attributes
into new ones. Versions are climbed one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

type Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


def _unchanged(attributes: dict[str, Any]) -> dict[str, Any]:
    """For a version that only added attributes, which have defaults."""
    return attributes


UPCASTERS: Final[dict[tuple[str, int], Upcaster]] = {
    ("WORKFLOW_STARTED", 1): _unchanged,
    ("WORKFLOW_STARTED", 2): _unchanged,
    ("CHILD_STARTED", 1): _unchanged,
    ("ACTIVITY_SCHEDULED", 1): _unchanged,
    ("ACTIVITY_FAILED", 1): _unchanged,
    ("WORKFLOW_FAILED", 1): _unchanged,
}
