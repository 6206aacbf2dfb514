"""Whether a run whose code failed is tried again, and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from loom.history.limits import RunLimits
from loom.identifiers import END_OF_TIME, Micros
from loom.retry import RetryPolicy, RetryTerms
from loom.values import value

_MICROSECOND: Final = timedelta(microseconds=1)


@value(frozen=True, slots=True)
class WorkflowRetry:
    """What a run was started with that decides about it."""

    terms: RetryTerms | None = None
    attempt: int = 1
    limits: RunLimits | None = None

    def next_at(
        self, error: BaseException, now: Micros, fraction: Callable[[], float]
    ) -> Micros | None:
        """When the next try begins; ``None`` when there is none.

        ``fraction`` gives a random number from 0 to 1.
        """
        if self.terms is None:
            return None
        policy = RetryPolicy().with_terms(self.terms)
        if not policy.allows(error, self.attempt):
            return None
        delay = policy.delay(self.attempt, fraction())
        at = min(now + delay // _MICROSECOND, END_OF_TIME)
        end = None if self.limits is None else self.limits.execution_deadline
        return at if end is None or at < end else None
