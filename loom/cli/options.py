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


def json_option[F: Callable[..., Any]](command: F) -> F:
    """Adds ``--json``, as ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, for programs, instead of a table."
    )(command)


class JsonType(click.ParamType):
    """A value written as JSON."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return json.loads(value)
        except ValueError as error:
            self.fail(f"not JSON: {error}. A text needs quotes of its own: '\"text\"'.", param, ctx)


JSON = JsonType()
