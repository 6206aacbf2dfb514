"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click


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
    except ValueError as error:
        raise click.BadParameter(
            f"not JSON: {error}. A text needs quotes of its own: '\"text\"'."
        ) from None
