"""Which runs somebody looks for: from the keywords of ``Loom.list`` to what a store is asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypedDict

from loom.errors import ConfigurationError
from loom.given import check_flag, check_moment, check_optional_id, shown
from loom.history.status import RunStatus
from loom.history.tags import TagValue, encode_tags
from loom.identifiers import Micros, WorkflowId
from loom.storage.records import RunFilter


class FilterKeywords(TypedDict, total=False):
    """What the type checkers know of the keywords of a filter; ``Loom.list`` explains them."""

    status: RunStatus | str | None
    open: bool | None
    name: str | None
    version: str | None
    queue: str | None
    id: WorkflowId | None
    id_prefix: str | None
    tags: Mapping[str, TagValue] | None
    started_after: datetime | None
    started_before: datetime | None
    closed_after: datetime | None
    closed_before: datetime | None


def run_filter(
    *,
    status: RunStatus | str | None = None,
    open: bool | None = None,
    name: str | None = None,
    version: str | None = None,
    queue: str | None = None,
    id: WorkflowId | None = None,
    id_prefix: str | None = None,
    tags: Mapping[str, TagValue] | None = None,
    started_after: datetime | None = None,
    started_before: datetime | None = None,
    closed_after: datetime | None = None,
    closed_before: datetime | None = None,
) -> RunFilter:
    """What a store is asked.

    Raises ``ConfigurationError`` for a status that there is not and for a moment without a time
    zone, and ``PayloadError`` for what can be no id, name or tag.
    """
    return RunFilter(
        status=_status(status),
        is_open=check_flag("open", open),
        name=check_optional_id("workflow name", name),
        version=check_optional_id("version", version),
        queue=check_optional_id("queue", queue),
        workflow_id=check_optional_id("workflow id", id),
        # Every id begins with nothing.
        workflow_id_prefix=check_optional_id("beginning of a workflow id", id_prefix or None),
        tags={} if tags is None else encode_tags(tags),
        created_from=_moment("started_after", started_after),
        created_before=_moment("started_before", started_before),
        closed_from=_moment("closed_after", closed_after),
        closed_before=_moment("closed_before", closed_before),
    )


def _status(status: RunStatus | str | None) -> RunStatus | None:
    if status is None:
        return None
    try:
        return RunStatus(status.upper())
    except (ValueError, AttributeError):
        known = ", ".join(RunStatus)
        raise ConfigurationError(
            f"There is no status {shown(status)}; there are: {known}."
        ) from None


def _moment(name: str, moment: datetime | None) -> Micros | None:
    return None if moment is None else check_moment(name, moment)
