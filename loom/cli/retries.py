"""The options of ``loom start`` that say how a run is tried again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypedDict, Unpack

import click

import loom
from loom.cli.options import duration_option


class RetryKeywords(TypedDict):
    """What ``retry_options`` gives to a command; ``None`` is what was left out."""

    retry_maximum_attempts: int | None
    retry_initial_interval: timedelta | None
    retry_backoff: float | None
    retry_maximum_interval: timedelta | None
    retry_jitter: float | None
    retry_non_retryable: tuple[str, ...] | None


def retry_policy(**keywords: Unpack[RetryKeywords]) -> loom.RetryPolicy | None:
    """The policy; ``None`` without any of them. Without a number of attempts they have no end."""
    given = {
        name.removeprefix("retry_"): value for name, value in keywords.items() if value is not None
    }
    policy: dict[str, Any] = {"maximum_attempts": None} | given
    return loom.RetryPolicy(**policy) if given else None


def retry_options[F: Callable[..., Any]](command: F) -> F:
    """Adds ``--retry-...``, of which ``retry_policy`` makes a policy."""
    for option in reversed(
        (
            click.option(
                "--retry-attempts",
                "retry_maximum_attempts",
                type=click.IntRange(min=1),
                metavar="N",
                help="When its code fails, try the run again, N times in all. Without it, but with "
                "another --retry option, there is no end.",
            ),
            duration_option("--retry-initial-interval", "The wait before the second try."),
            click.option(
                "--retry-backoff",
                type=float,
                metavar="FACTOR",
                help="By how much each wait grows on the one before.",
            ),
            duration_option("--retry-maximum-interval", "No wait is longer."),
            click.option(
                "--retry-jitter",
                type=float,
                metavar="PART",
                help="The part of each wait that is random, from 0 to 1.",
            ),
            click.option(
                "--retry-not",
                "retry_non_retryable",
                multiple=True,
                metavar="ERROR",
                callback=lambda context, option, given: given or None,
                help="An exception, by its name, after which it is not tried again; may be given "
                "again.",
            ),
        )
    ):
        command = option(command)
    return command
