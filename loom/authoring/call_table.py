"""The forbidden calls as live objects, so that a call is known whatever name it is made by."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum
from types import BuiltinFunctionType, MethodType, ModuleType
from typing import Any, Final

from loom.authoring.forbidden import FORBIDDEN, SAFE_OF_TASKS, WITHOUT_ARGUMENTS, Rule


class When(Enum):
    """In which case a call breaks the rule."""

    ALWAYS = "always"
    WITHOUT_ARGUMENTS = "without arguments"
    UNLESS_TASKS = "unless it is given a list of tasks"


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A function or class that a workflow's code must not call."""

    name: str
    rule: Rule
    when: When


def _entries() -> dict[str, Forbidden]:
    entries = {name: Forbidden(name, rule, When.ALWAYS) for name, rule in FORBIDDEN.items()}
    for name in SAFE_OF_TASKS:
        entries[name] = Forbidden(name, FORBIDDEN[name], When.UNLESS_TASKS)
    for name, rule in WITHOUT_ARGUMENTS.items():
        entries[name] = Forbidden(name, rule, When.WITHOUT_ARGUMENTS)
    return entries


BY_NAME: Final = _entries()


class CallTable:
    """Looks up what is called. It knows the modules that were loaded at its last refresh."""

    def __init__(self) -> None:
        self._bound: dict[Any, Forbidden] = {}
        """By equality, for Python makes bound methods anew each time that they are looked up."""
        self._by_identity: dict[int, tuple[Any, Forbidden]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in modules that have been loaded since."""
        for name, entry in BY_NAME.items():
            value = _live(name)
            if isinstance(value, BuiltinFunctionType | MethodType):
                self._bound.setdefault(value, entry)
            elif value is not None:
                # The object is kept, or another could take its place in memory.
                self._by_identity.setdefault(id(value), (value, entry))

    def find(self, called: Any) -> Forbidden | None:
        """The entry for a function, method or class, if it has one."""
        kind = type(called)
        if kind is BuiltinFunctionType:
            return self._bound.get(called)
        if kind is MethodType:
            found = self._bound.get(called)
            if found is not None:
                return found
            called = called.__func__
        entry = self._by_identity.get(id(called))
        return entry[1] if entry is not None else None


def _live(name: str) -> Any:
    """What a full name stands for, if its module is loaded."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:count]))
        if module is not None:
            return _inside(module, parts[count:])
    return None


def _inside(value: Any, parts: list[str]) -> Any:
    for part in parts:
        if isinstance(value, ModuleType):
            # Never through a module's own `__getattr__`, which may import for it.
            value = vars(value).get(part)
        else:
            value = getattr(value, part, None)
    return value
