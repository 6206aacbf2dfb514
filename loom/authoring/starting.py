"""How a run is started: what every start may be told, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from loom.authoring.names import check_id
from loom.history.tags import TagValue
from loom.identifiers import WorkflowId

type ConflictPolicy = Literal["use_existing", "fail"]
"""What a start does when an open run already has the workflow id."""


class StartKeywords(TypedDict, total=False):
    """What the type checkers know of the keywords of a start; ``Loom.start`` explains them."""

    id: WorkflowId | None
    queue: str
    on_conflict: ConflictPolicy
    memo: Any
    tags: Mapping[str, TagValue] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """The keywords of one start, checked.

    Raises ``PayloadError`` for an id or name that no store could hold.
    """

    id: WorkflowId | None = None
    queue: str = "default"
    on_conflict: ConflictPolicy = "use_existing"
    memo: Any = None
    tags: Mapping[str, TagValue] | None = None

    def __post_init__(self) -> None:
        if self.id is not None:
            check_id("workflow id", self.id)
        check_id("queue", self.queue)
