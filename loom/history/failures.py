"""Failures as history keeps them: text, never pickled exceptions."""

from __future__ import annotations

import traceback
from enum import StrEnum
from typing import Final

from loom.values import value

MAX_MESSAGE: Final = 8_000
MAX_TRACEBACK: Final = 32_000


class FailureKind(StrEnum):
    """Why an activity or a workflow failed."""

    ERROR = "error"
    TIMEOUT = "timeout"
    LOST = "lost"


@value(frozen=True, slots=True)
class Failure:
    """What an exception was: its qualified type name, its message and its traceback as text."""

    type: str
    message: str
    traceback: str = ""
    kind: FailureKind = FailureKind.ERROR


def failure_from(error: BaseException, kind: FailureKind = FailureKind.ERROR) -> Failure:
    """Describe an exception, its causes included. Never raises, whatever the exception does; only
    a ``KeyboardInterrupt`` goes through."""
    return Failure(
        type=storable(type_name(type(error)), MAX_MESSAGE),
        message=storable(_text_of(error), MAX_MESSAGE),
        traceback=storable(_traceback_of(error), MAX_TRACEBACK),
        kind=kind,
    )


def type_name(cls: type) -> str:
    """``ValueError`` for a builtin, ``package.module.Name`` for anything else."""
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as broken:
        return f"<its str() raised {type(broken).__name__}>"


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except KeyboardInterrupt:
        raise
    except BaseException as broken:
        return f"<its traceback could not be written: {type(broken).__name__}>"


def storable(text: str, limit: int) -> str:
    """Text that any database takes: valid Unicode without NUL, and not too long."""
    text = text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - limit} characters left out ...\n{text[-half:]}"
