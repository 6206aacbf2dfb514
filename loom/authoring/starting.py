"""How a run is started: what every start may be told, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAliasType, TypedDict, get_args

from loom.authoring.names import check_id
from loom.errors import ConfigurationError
from loom.history.tags import TagValue
from loom.identifiers import WorkflowId

type ConflictPolicy = Literal["use_existing", "fail", "terminate_existing"]
"""What a start does when an open run already has the workflow id."""

type ReusePolicy = Literal["allow", "allow_failed", "reject"]
"""Whether a workflow id may be used again when its newest run has ended."""


class StartKeywords(TypedDict, total=False):
    """What the type checkers know of the keywords of a start; ``Loom.start`` explains them."""

    id: WorkflowId | None
    queue: str
    on_conflict: ConflictPolicy
    reuse: ReusePolicy
    idempotency_key: str | None
    memo: Any
    tags: Mapping[str, TagValue] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """The keywords of one start, checked.

    Raises ``PayloadError`` for an id or name that no store could hold, and ``ConfigurationError``
    for policies that there are not, or that contradict each other.
    """

    id: WorkflowId | None = None
    queue: str = "default"
    on_conflict: ConflictPolicy = "use_existing"
    reuse: ReusePolicy = "allow"
    idempotency_key: str | None = None
    memo: Any = None
    tags: Mapping[str, TagValue] | None = None

    def __post_init__(self) -> None:
        if self.id is not None:
            check_id("workflow id", self.id)
        check_id("queue", self.queue)
        if self.idempotency_key is not None:
            check_id("idempotency key", self.idempotency_key)
        _check_choice("on_conflict", self.on_conflict, ConflictPolicy)
        _check_choice("reuse", self.reuse, ReusePolicy)
        if self.on_conflict == "terminate_existing" and self.reuse == "reject":
            raise ConfigurationError(
                "on_conflict='terminate_existing' leaves a run with the id behind that has ended, "
                "after which reuse='reject' starts no other. Leave one of them out."
            )


def _check_choice(name: str, given: object, choices: TypeAliasType) -> None:
    known: tuple[str, ...] = get_args(choices.__value__)
    if given not in known:
        raise ConfigurationError(f"There is no {name}={given!r}; there are: {', '.join(known)}.")
