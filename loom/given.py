"""What callers give, checked before anything is done with it: ids, moments, numbers, keywords.

Names and ids that no store could hold are a ``PayloadError``, everything else that cannot be meant
is a ``ConfigurationError``; both say what was given, and what is wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from loom.errors import ConfigurationError, PayloadError
from loom.identifiers import MAX_ID_LENGTH, Micros

MOST: Final = 1_000_000
"""No number of runs or activities that somebody asks for is larger."""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_LONGEST_SHOWN: Final = 60


def check_id(what: str, value: object) -> str:
    """An id or name from outside. Raises ``PayloadError`` when no store could hold it."""
    problem = name_problem(value)
    if problem or not isinstance(value, str):
        raise PayloadError(f"The {what} {shown(value)} {problem}.")
    return value


def check_optional_id(what: str, value: object) -> str | None:
    """The same for one that may be left out."""
    return None if value is None else check_id(what, value)


def check_text(what: str, text: object) -> str:
    """Any text. Raises ``PayloadError`` when it is none."""
    if not isinstance(text, str):
        raise PayloadError(f"The {what} {shown(text)} is not a string.")
    return text


def name_problem(name: object) -> str | None:
    """What is wrong with a name or id, as the end of a sentence; ``None`` when nothing is."""
    if not isinstance(name, str):
        return "is not a string"
    if not name:
        return "is empty"
    if len(name) > MAX_ID_LENGTH:
        return f"is longer than {MAX_ID_LENGTH} characters"
    if not name.isprintable():
        return "holds control or other unprintable characters"
    return None


def check_moment(name: str, moment: object) -> Micros:
    """A moment with a time zone, in microseconds. Raises ``ConfigurationError``."""
    if not isinstance(moment, datetime):
        raise ConfigurationError(
            f"{name}={shown(moment)} is no moment: give a datetime with a time zone."
        )
    if moment.utcoffset() is None:
        raise ConfigurationError(f"{name}={moment!r} needs a time zone, for example UTC.")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def check_number(name: str, number: object, *, least: int, most: int = MOST) -> int:
    """A whole number between two others. Raises ``ConfigurationError``."""
    is_whole = isinstance(number, int) and not isinstance(number, bool)
    if not is_whole or not isinstance(number, int) or not least <= number <= most:
        raise ConfigurationError(
            f"{name}={shown(number)} must be a whole number from {least} to {most}."
        )
    return number


def check_flag(name: str, flag: object) -> bool | None:
    """``True``, ``False``, or ``None`` for either. Raises ``ConfigurationError``."""
    if flag is not None and not isinstance(flag, bool):
        raise ConfigurationError(f"{name}={shown(flag)} must be True, False or None.")
    return flag


def check_choice(name: str, given: object, choices: Collection[str]) -> None:
    """One of several words. Raises ``ConfigurationError``."""
    if given not in choices:
        raise ConfigurationError(
            f"There is no {name}={shown(given)}; there are: {', '.join(choices)}."
        )


def check_keywords(function: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises ``TypeError``, as Python does, for keywords that a function does not take."""
    allowed = tuple(known)
    for name in given:
        if name not in allowed:
            raise TypeError(f"{function}() takes no {name!r}; it takes: {', '.join(allowed)}.")


def shown(value: object) -> str:
    """A value as errors show it: never very long, and whatever its ``repr`` does."""
    try:
        text = repr(value)
    except Exception as broken:
        text = f"<its repr() raised {type(broken).__name__}>"
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
