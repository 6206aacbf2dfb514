"""Telling the user's own code from libraries: only the former is told what not to call."""

from __future__ import annotations

import sys
import sysconfig
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

_LOOM: Final = str(Path(__file__).resolve().parents[1])
_LIBRARIES: Final = tuple(
    {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib")}
    | {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})

_own: set[str] = set()
"""Folders and files of the packages that workflows are defined in, installed ones too."""


def count_as_user_code(cls: type) -> None:
    """Take the package of a workflow for the user's own, wherever it is installed."""
    top = sys.modules.get(cls.__module__.partition(".")[0])
    paths = [*getattr(top, "__path__", ())] or [getattr(top, "__file__", None)]
    new = {path for path in paths if path and not path.startswith(_LOOM)} - _own
    if new:
        _own.update(new)
        is_users_file.cache_clear()


@lru_cache(maxsize=4096)
def is_users_file(path: str) -> bool:
    """Whether a file of source belongs to the user, and not to Python, a library or Loom."""
    if path.startswith(("<frozen ", _LOOM)):
        return False
    if any(path == own or path.startswith(f"{own}/") for own in _own):
        return True
    return not path.startswith(_LIBRARIES) and _INSTALLED.isdisjoint(Path(path).parts)


def is_users_code(code: CodeType) -> bool:
    return is_users_file(code.co_filename)


def is_users_class(cls: type) -> bool:
    """Whether a class comes from a module of the user."""
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return cls.__module__ != "builtins" and is_users_file(path or f"<{cls.__module__}>")


def functions_of(cls: type) -> list[FunctionType]:
    """The functions of a user's class and of those bases that are the user's as well: methods,
    static and class methods, and what its properties call."""
    bases = [base for base in cls.__mro__ if is_users_class(base)]
    return [found for base in bases for value in vars(base).values() for found in unwrapped(value)]


def unwrapped(value: Any) -> list[FunctionType]:
    """The functions in something callable: itself, and what decorators have wrapped and left word
    of."""
    if isinstance(value, FunctionType):
        inner = vars(value).get("__wrapped__")
        return [value, *unwrapped(inner)] if inner is not None else [value]
    if isinstance(value, staticmethod | classmethod):
        return unwrapped(value.__func__)
    if isinstance(value, property):
        parts = (value.fget, value.fset, value.fdel)
        return [function for part in parts for function in unwrapped(part)]
    if isinstance(value, cached_property | partial):
        return unwrapped(value.func)
    if isinstance(value, type) or not hasattr(value, "__dict__"):
        return []
    return unwrapped(vars(value).get("__wrapped__"))
