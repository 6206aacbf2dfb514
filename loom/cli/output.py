"""Printing for people and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def print_json(value: object) -> None:
    """Prints a value as indented JSON; times in ISO 8601."""
    click.echo(harmless(json.dumps(value, indent=2, ensure_ascii=False, default=_as_json)))


def as_dict(record: DataclassInstance, *, without: Iterable[str] = ()) -> dict[str, Any]:
    """A dataclass as a dict, without some of its fields."""
    return {key: value for key, value in asdict(record).items() if key not in without}


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints rows under headings, on a terminal with rich if that is installed and they fit."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not (sys.stdout.isatty() and _print_rich_table(headings, cells)):
        _print_plain_table(headings, cells)


def print_fields(fields: Mapping[str, object]) -> None:
    """Prints names and values below each other; leaves out values that are ``None``."""
    width = max(map(len, fields))
    for name, value in fields.items():
        if value is not None:
            click.echo(f"{click.style(name.ljust(width), dim=True)}  {_cell(value)}")


def one_line(value: object, limit: int = 100) -> str:
    """A JSON value in one line, cut off where it gets long."""
    text = json.dumps(value, ensure_ascii=False, default=_as_json)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def tags_in_short(tags: Mapping[str, object]) -> str | None:
    """Tags in one line."""
    told = (
        f"{name}={value.isoformat() if isinstance(value, datetime) else value}"
        for name, value in sorted(tags.items())
    )
    return ", ".join(told) or None


def harmless(text: str) -> str:
    """Text from a run, with what a terminal would obey or hide written as JSON escapes."""
    lines = text.split("\n")
    return "\n".join(line if line.isprintable() else "".join(map(_shown, line)) for line in lines)


def _shown(character: str) -> str:
    if character.isprintable() or character == "\t":
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def local_time(moment: datetime) -> str:
    """A moment on the reader's own clock."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(moment: datetime) -> str:
    """How long ago a moment was, or how far ahead it is."""
    delta = datetime.now(UTC) - moment
    return f"in {duration(-delta)}" if delta < timedelta(0) else f"{duration(delta)} ago"


def duration(delta: timedelta) -> str:
    """A length of time in the two units that matter."""
    seconds = delta.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _print_plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [[heading.upper() for heading in headings], *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        click.echo("  ".join(map(str.ljust, line, widths)).rstrip())


def _print_rich_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        return False
    table = Table(*headings, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False)
    # Squeezed into a narrow terminal it would cut ids off, which people want to copy.
    endless = console.options.update(max_width=sys.maxsize)
    if console.measure(table, options=endless).maximum > console.width:
        return False
    console.print(table)
    return True


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return local_time(value)
    return harmless(str(value))


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    return str(value)
