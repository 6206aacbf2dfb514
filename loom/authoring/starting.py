"""How a run is started: what every start may be told, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, TypedDict, get_args

from loom.durations import Duration, positive_micros, whole_micros
from loom.errors import ConfigurationError
from loom.given import check_choice, check_id, check_moment, shown
from loom.history.limits import RunLimits, limits
from loom.history.tags import TagValue
from loom.identifiers import END_OF_TIME, Micros, WorkflowId, in_micros
from loom.retry import RetryPolicy
from loom.values import value

type ConflictPolicy = Literal["use_existing", "fail", "terminate_existing"]
"""What a start does when an open run already has the workflow id."""

type ReusePolicy = Literal["allow", "allow_failed", "reject"]
"""Whether a workflow id may be used again when its newest run has ended."""

_CONFLICT_POLICIES: Final[tuple[str, ...]] = get_args(ConflictPolicy.__value__)
_REUSE_POLICIES: Final[tuple[str, ...]] = get_args(ReusePolicy.__value__)


class StartKeywords(TypedDict, total=False):
    """What the type checkers know of the keywords of a start; ``Loom.start`` explains them."""

    id: WorkflowId | None
    queue: str
    on_conflict: ConflictPolicy
    reuse: ReusePolicy
    idempotency_key: str | None
    delay: Duration | None
    start_at: datetime | None
    run_timeout: Duration | None
    execution_timeout: Duration | None
    retry: RetryPolicy | None
    memo: Any
    tags: Mapping[str, TagValue] | None


@value(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """The keywords of one start, checked.

    Raises ``PayloadError`` for an id or name that no store could hold, and ``ConfigurationError``
    for policies that there are not, moments without a time zone, times that are none
    (``DurationError``), and what contradicts each other.
    """

    id: WorkflowId | None = None
    queue: str = "default"
    on_conflict: ConflictPolicy = "use_existing"
    reuse: ReusePolicy = "allow"
    idempotency_key: str | None = None
    delay: Duration | None = None
    start_at: datetime | None = None
    run_timeout: Duration | None = None
    execution_timeout: Duration | None = None
    retry: RetryPolicy | None = None
    memo: Any = None
    tags: Mapping[str, TagValue] | None = None

    def __post_init__(self) -> None:
        if self.id is not None:
            check_id("workflow id", self.id)
        check_id("queue", self.queue)
        if self.idempotency_key is not None:
            check_id("idempotency key", self.idempotency_key)
        check_choice("on_conflict", self.on_conflict, _CONFLICT_POLICIES)
        check_choice("reuse", self.reuse, _REUSE_POLICIES)
        if self.on_conflict == "terminate_existing" and self.reuse == "reject":
            raise ConfigurationError(
                "on_conflict='terminate_existing' leaves a run with the id behind that has ended, "
                "after which reuse='reject' starts no other. Leave one of them out."
            )

        if self.delay is not None and self.start_at is not None:
            raise ConfigurationError("A start takes either delay= or start_at=, and not both.")
        if self.start_at is not None:
            check_moment("start_at", self.start_at)
        check_retry(self.retry)
        if self.delay is not None:
            whole_micros("delay", self.delay)
        check_limits(self.run_timeout, self.execution_timeout)

    def begins_at(self, now: Micros) -> Micros:
        """When the code of a run that is started now begins."""
        if self.start_at is not None:
            return min(max(now, check_moment("start_at", self.start_at)), END_OF_TIME)
        if self.delay is None:
            return now
        return min(now + (in_micros(self.delay) or 0), END_OF_TIME)


def check_retry(retry: object) -> None:
    """Raises ``ConfigurationError`` for what is no policy that a run can be retried by."""
    if retry is None:
        return
    if not isinstance(retry, RetryPolicy):
        raise ConfigurationError(f"retry={shown(retry)} is no RetryPolicy.")
    if retry.retry_error or retry.retry_result:
        raise ConfigurationError(
            "The retry policy of a run is kept in the database, which cannot keep functions: "
            "leave out retry_error and retry_result, and name errors in non_retryable."
        )


def check_limits(run_timeout: Duration | None, execution_timeout: Duration | None) -> None:
    """Raises ``DurationError`` for times that no run can be held to."""
    for name, limit in (("run_timeout", run_timeout), ("execution_timeout", execution_timeout)):
        if limit is not None:
            positive_micros(name, limit)


def limits_from(
    begins_at: Micros, run_timeout: Duration | None, execution_timeout: Duration | None
) -> RunLimits | None:
    """The limits of a run that begins then, and of the chain that begins with it."""
    if run_timeout is None and execution_timeout is None:
        return None
    chain = in_micros(execution_timeout)
    end = None if chain is None else begins_at + chain
    return limits(begins_at, in_micros(run_timeout), end)
