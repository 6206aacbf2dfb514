"""How an activity is tried: what ``@activity`` and ``with_options`` are given."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Self

from loom.authoring.names import check_name
from loom.durations import Duration, positive
from loom.errors import DefinitionError
from loom.history.events import ActivityScheduled
from loom.identifiers import Micros
from loom.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityOptions:
    """How an activity is tried; ``None`` leaves it to whoever has the next word."""

    queue: str | None = None
    retry: RetryPolicy | None = None
    start_to_close_timeout: timedelta | None = None
    schedule_to_start_timeout: timedelta | None = None
    schedule_to_close_timeout: timedelta | None = None
    heartbeat_timeout: timedelta | None = None

    @classmethod
    def checked(
        cls,
        *,
        queue: str | None,
        retry: RetryPolicy | None,
        retry_count: int | None,
        start_to_close_timeout: Duration | None,
        schedule_to_start_timeout: Duration | None,
        schedule_to_close_timeout: Duration | None,
        heartbeat_timeout: Duration | None,
    ) -> Self:
        """Options as they were given. Raises ``DefinitionError`` for one that cannot work, and
        ``DurationError`` for a time that is none."""
        return cls(
            queue=None if queue is None else check_name("queue", queue),
            retry=_retry_policy(retry, retry_count),
            start_to_close_timeout=positive("start_to_close_timeout", start_to_close_timeout),
            schedule_to_start_timeout=positive(
                "schedule_to_start_timeout", schedule_to_start_timeout
            ),
            schedule_to_close_timeout=positive(
                "schedule_to_close_timeout", schedule_to_close_timeout
            ),
            heartbeat_timeout=positive("heartbeat_timeout", heartbeat_timeout),
        )

    def over(self, others: ActivityOptions) -> ActivityOptions:
        """These where they are given, else the others."""
        given = {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}
        return replace(others, **given)

    @property
    def policy(self) -> RetryPolicy:
        return self.retry or _NO_RETRY


def with_recorded(own: ActivityOptions, scheduled: ActivityScheduled) -> ActivityOptions:
    """An activity's own options, overridden by those that history holds for one call of it."""
    terms = scheduled.retry
    if scheduled.start_to_close is None and scheduled.heartbeat is None and terms is None:
        return own
    return ActivityOptions(
        start_to_close_timeout=_timedelta(scheduled.start_to_close),
        heartbeat_timeout=_timedelta(scheduled.heartbeat),
        retry=None if terms is None else own.policy.with_terms(terms),
    ).over(own)


def recorded_with(
    scheduled: ActivityScheduled, own: ActivityOptions, call: ActivityOptions
) -> ActivityScheduled:
    """The event that asks for an activity, with what others than its worker must know.

    What an attempt is held to is the business of the code that runs it, unless this one call was
    given something else. What holds with no worker alive is recorded in any case.
    """
    both = call.over(own)
    return replace(
        scheduled,
        schedule_to_start=_micros(both.schedule_to_start_timeout),
        schedule_to_close=_micros(both.schedule_to_close_timeout),
        start_to_close=_micros(call.start_to_close_timeout),
        heartbeat=_micros(call.heartbeat_timeout),
        retry=None if call.retry is None else call.retry.terms,
    )


def _retry_policy(retry: RetryPolicy | None, retry_count: int | None) -> RetryPolicy | None:
    if retry is not None and retry_count is not None:
        raise DefinitionError("Give either retry or retry_count, not both.")
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise DefinitionError(f"retry must be a RetryPolicy, not {retry!r}.")
    if retry_count is None:
        return retry
    if not isinstance(retry_count, int) or isinstance(retry_count, bool):
        raise DefinitionError(f"retry_count must be a whole number, not {retry_count!r}.")
    if retry_count < 0:
        raise DefinitionError("retry_count must not be negative.")
    return RetryPolicy(maximum_attempts=retry_count + 1)


_NO_RETRY = RetryPolicy()


def _micros(duration: timedelta | None) -> Micros | None:
    return None if duration is None else duration // timedelta(microseconds=1)


def _timedelta(duration: Micros | None) -> timedelta | None:
    return None if duration is None else timedelta(microseconds=duration)
