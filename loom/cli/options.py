"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import click

from loom.history.tags import TagValue


def dsn_option[F: Callable[..., Any]](command: F) -> F:
    """Adds ``--dsn``. ``None`` leaves the choice to the settings."""
    return click.option(
        "--dsn",
        metavar="DSN",
        help="The database, as sqlite:///file.db or postgresql://user@host/name. "
        "[env: LOOM_DSN; default: sqlite:///workflows.db]",
    )(command)


def codecs_option[F: Callable[..., Any]](command: F) -> F:
    """Adds ``--codecs``, for ``loading.load_codecs``."""
    return click.option(
        "--codecs",
        metavar="MODULE:ATTRIBUTE",
        help="The codecs that payloads are stored with: one, or a list of them.",
    )(command)


def json_option[F: Callable[..., Any]](command: F) -> F:
    """Adds ``--json``, as ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, for programs, instead of a table."
    )(command)


def parse_json(text: str | bytes) -> Any:
    """A value written as JSON, for ``click.option(type=parse_json)``."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(
            f"not JSON: {error}. A text needs quotes of its own: '\"text\"'."
        ) from None


def tag_option[F: Callable[..., Any]](help: str) -> Callable[[F], F]:
    """Adds ``--tag``, which may be given many times, as the dict ``tags``."""
    return click.option(
        "--tag",
        "tags",
        multiple=True,
        metavar="NAME=VALUE",
        callback=lambda context, option, given: dict(map(_parse_tag, given)),
        help=f"{help} A number, true, false or a moment with its time zone is one; quotes make "
        "anything a text: '\"5\"'.",
    )


def moment_option[F: Callable[..., Any]](name: str, help: str) -> Callable[[F], F]:
    """Adds an option for a moment, which without a time zone is one of the reader's clock."""
    return click.option(name, type=_parse_moment, metavar="MOMENT", help=help)


def duration_option[F: Callable[..., Any]](name: str, help: str) -> Callable[[F], F]:
    """Adds an option for a length of time, in seconds unless it says otherwise."""
    return click.option(name, type=_parse_duration, metavar="TIME", help=help)


_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _parse_duration(text: str) -> timedelta:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        found = timedelta(seconds=float(number) * _UNITS[unit])
    except (ValueError, OverflowError):
        found = None
    if found is None or found < timedelta(0):
        raise click.BadParameter(f"{text!r} is no length of time: write 90, 90s, 5m, 2h or 1d.")
    return found


def _parse_tag(given: str) -> tuple[str, TagValue]:
    name, equals, text = given.partition("=")
    if not equals:
        raise click.BadParameter(f"{given!r} is not of the form NAME=VALUE.")
    return name, _parse_tag_value(text)


def _parse_tag_value(text: str) -> TagValue:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _moment_with_zone(text) or text
    return value if isinstance(value, bool | int | float | str) else text


def _moment_with_zone(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _parse_moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no moment: write 2026-05-01, or 2026-05-01T12:30, or with a time zone "
            "2026-05-01T12:30+02:00."
        ) from None
