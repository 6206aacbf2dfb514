"""Checks that every definition shares: names that any store can hold, and readable annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

from loom.errors import DefinitionError, PayloadError
from loom.identifiers import MAX_ID_LENGTH


def check_name(what: str, name: object) -> str:
    """The name itself, if every store can hold it. Raises ``DefinitionError`` otherwise."""
    problem = name_problem(name)
    if problem or not isinstance(name, str):
        raise DefinitionError(f"The {what} name {name!r} {problem}.")
    return name


def check_id(what: str, value: object) -> str:
    """An id or name from outside. Raises ``PayloadError`` when no store could hold it."""
    problem = name_problem(value)
    if problem or not isinstance(value, str):
        raise PayloadError(f"The {what} {value!r} {problem}.")
    return value


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


def type_hints(annotated: Callable[..., Any]) -> dict[str, Any]:
    """Resolved annotations. Raises ``DefinitionError`` naming the one that cannot be resolved."""
    try:
        return get_type_hints(annotated, include_extras=True)
    except NameError as error:
        name = getattr(annotated, "__qualname__", repr(annotated))
        raise DefinitionError(
            f"The annotations of {name} cannot be resolved: {error}. Types of arguments and "
            "results are needed at run time: import them outside of `if TYPE_CHECKING`."
        ) from error


def returned_type(function: Callable[..., Any]) -> Any:
    """What a function is annotated to return, ``Any`` when it does not say.

    Raises ``DefinitionError`` when the annotation cannot be resolved.
    """
    try:
        return type_hints(function).get("return", Any)
    except TypeError:  # what has no annotations, such as a partial
        return Any
