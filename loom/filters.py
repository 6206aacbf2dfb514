"""Which runs somebody looks for: from the keywords of ``Loom.list`` to what a store is asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypedDict

from loom.errors import ConfigurationError
from loom.history.status import RunStatus
from loom.history.tags import TagValue, encode_tags
from loom.identifiers import Micros, WorkflowId
from loom.storage.records import RunFilter

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class FilterKeywords(TypedDict, total=False):
    """What the type checkers know of the keywords of a filter; ``Loom.list`` explains them."""

    status: RunStatus | str | None
    open: bool | None
    name: str | None
    version: str | None
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
    zone, and ``PayloadError`` for what cannot be a tag.
    """
    return RunFilter(
        status=_status(status),
        is_open=open,
        name=name,
        version=version,
        workflow_id=id,
        workflow_id_prefix=id_prefix,
        tags=encode_tags(tags or {}),
        created_from=_moment("started_after", started_after),
        created_before=_moment("started_before", started_before),
        closed_from=_moment("closed_after", closed_after),
        closed_before=_moment("closed_before", closed_before),
    )


def _status(status: RunStatus | str | None) -> RunStatus | None:
    if status is None:
        return None
    try:
        return RunStatus(str(status).upper())
    except ValueError:
        known = ", ".join(RunStatus)
        raise ConfigurationError(f"There is no status {status!r}; there are: {known}.") from None


def _moment(name: str, moment: datetime | None) -> Micros | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ConfigurationError(f"{name}={moment!r} needs a time zone, for example UTC.")
    return (moment - _EPOCH) // timedelta(microseconds=1)
