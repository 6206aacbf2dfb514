"""Checks that every definition shares: names that any store can hold, and readable annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

from loom.errors import DefinitionError
from loom.given import name_problem, shown


def check_name(what: str, name: object) -> str:
    """The name itself, if every store can hold it. Raises ``DefinitionError`` otherwise."""
    problem = name_problem(name)
    if problem or not isinstance(name, str):
        raise DefinitionError(f"The {what} name {shown(name)} {problem}.")
    return name


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
