"""When a failed attempt is tried again, and how long after."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from loom.durations import Duration, whole_micros
from loom.errors import ConfigurationError
from loom.identifiers import Micros
from loom.values import value


@value(frozen=True, slots=True, kw_only=True)
class RetryTerms:
    """What of a policy can be written down: all but its functions. Classes go by their names."""

    maximum_attempts: int | None
    initial_interval: Micros
    backoff: float
    maximum_interval: Micros
    jitter: float
    non_retryable: tuple[str, ...]


@dataclass(frozen=True, slots=True, init=False)
class RetryPolicy:
    """How an activity is retried. The default never retries an error.

    An attempt whose worker died is not an error of the activity: it is delivered again whatever
    this policy says (see ``Settings.max_lost_attempts``).

    Intervals are given as ``timedelta`` or seconds, and kept as ``timedelta``. Raises
    ``ConfigurationError`` for what makes no sense, ``DurationError`` among others.

    Attributes:
        maximum_attempts: attempts in all, the first included; ``None`` for no limit.
        initial_interval: the wait before the second attempt.
        backoff: by how much each wait grows on the one before; at least 1.
        maximum_interval: no wait is longer.
        jitter: the part of each wait that is random, from 0 (none) to 1.
        non_retryable: exception classes, or their names, that fail the activity at once;
            subclasses are included.
        retry_error: called with the exception; a false answer fails the activity at once.
        retry_result: called with the result; a true answer counts the attempt as failed.
    """

    maximum_attempts: int | None
    initial_interval: timedelta
    backoff: float
    maximum_interval: timedelta
    jitter: float
    non_retryable: tuple[type[BaseException] | str, ...]
    retry_error: Callable[[BaseException], bool] | None
    retry_result: Callable[[Any], bool] | None

    def __init__(
        self,
        *,
        maximum_attempts: int | None = 1,
        initial_interval: Duration = 1.0,
        backoff: float = 2.0,
        maximum_interval: Duration = 100.0,
        jitter: float = 0.1,
        non_retryable: tuple[type[BaseException] | str, ...] = (),
        retry_error: Callable[[BaseException], bool] | None = None,
        retry_result: Callable[[Any], bool] | None = None,
    ) -> None:
        initial = whole_micros("RetryPolicy: initial_interval", initial_interval)
        maximum = whole_micros("RetryPolicy: maximum_interval", maximum_interval)
        given = {
            "maximum_attempts": maximum_attempts,
            "initial_interval": initial * _MICROSECOND,
            "backoff": backoff,
            "maximum_interval": maximum * _MICROSECOND,
            "jitter": jitter,
            "non_retryable": non_retryable,
            "retry_error": retry_error,
            "retry_result": retry_result,
        }
        for name, setting in given.items():
            object.__setattr__(self, name, setting)
        self._check()

    def _check(self) -> None:
        attempts = self.maximum_attempts
        checks = {
            "maximum_attempts must be at least 1 and a whole number, or None for no limit": (
                attempts is None or (_is_whole(attempts) and 1 <= attempts < _TOO_LARGE)
            ),
            "backoff must be at least 1": _is_number(self.backoff) and 1 <= self.backoff < math.inf,
            "backoff must be a float when it is as large": (
                not _is_whole(self.backoff) or self.backoff < _TOO_LARGE
            ),
            "maximum_interval (100 s unless it is given) must not be below initial_interval": (
                self.maximum_interval >= self.initial_interval
            ),
            "jitter must be between 0 and 1": _is_number(self.jitter) and 0 <= self.jitter <= 1,
            "non_retryable must be a tuple of exception classes, or of their names": (
                isinstance(self.non_retryable, tuple) and all(map(_is_kind, self.non_retryable))
            ),
        }
        for message, holds in checks.items():
            if not holds:
                raise ConfigurationError(f"RetryPolicy: {message}.")

    def allows(self, error: BaseException | None, failures: int) -> bool:
        """Whether to try again after ``failures`` failed attempts, the last with ``error``.

        ``error`` is ``None`` when the attempt was failed by ``retry_result``.
        """
        if self.maximum_attempts is not None and failures >= self.maximum_attempts:
            return False
        if error is None:
            return True
        if any(_is(error, kind) for kind in self.non_retryable):
            return False
        return self.retry_error is None or bool(self.retry_error(error))

    @property
    def terms(self) -> RetryTerms:
        return RetryTerms(
            maximum_attempts=self.maximum_attempts,
            initial_interval=self.initial_interval // _MICROSECOND,
            backoff=self.backoff,
            maximum_interval=self.maximum_interval // _MICROSECOND,
            jitter=self.jitter,
            non_retryable=tuple(
                kind if isinstance(kind, str) else _full_name(kind) for kind in self.non_retryable
            ),
        )

    def with_terms(self, terms: RetryTerms) -> RetryPolicy:
        """Other terms, judged by the same functions."""
        return replace(
            self,
            maximum_attempts=terms.maximum_attempts,
            initial_interval=terms.initial_interval * _MICROSECOND,
            backoff=terms.backoff,
            maximum_interval=terms.maximum_interval * _MICROSECOND,
            jitter=terms.jitter,
            non_retryable=terms.non_retryable,
        )

    def delay(self, failures: int, fraction: float) -> timedelta:
        """The wait after ``failures`` failed attempts.

        ``fraction``, from 0 to 1, is the caller's random number: it decides where in the jittered
        part the wait ends.
        """
        initial = self.initial_interval.total_seconds()
        try:
            grown = initial * float(self.backoff) ** (failures - 1)
        except OverflowError:
            grown = math.inf if initial else 0
        seconds = min(grown, self.maximum_interval.total_seconds())
        return timedelta(seconds=seconds * (1 - self.jitter * fraction))


_MICROSECOND = timedelta(microseconds=1)


_TOO_LARGE = 1 << 63
"""Whole numbers from here on cannot be read in a history."""


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_kind(kind: object) -> bool:
    return isinstance(kind, str) or (isinstance(kind, type) and issubclass(kind, BaseException))


def _is(error: BaseException, kind: type[BaseException] | str) -> bool:
    if isinstance(kind, str):
        return any(kind in (c.__name__, _full_name(c)) for c in type(error).__mro__)
    return isinstance(error, kind)


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
