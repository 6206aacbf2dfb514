"""What the names in a function mean, looked up in the live module that it belongs to.

Nothing is called for it, and no instance is asked for its attributes: a name is followed through
modules and classes alone.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, Final

from loom.authoring.lint.source import FunctionNode

UNKNOWN: Final = object()
"""What cannot be told without running the code."""


@dataclass(frozen=True, slots=True)
class Unloaded:
    """Something of a module that is not imported yet, by its full name."""

    name: str


class Scope:
    """The names of one function.

    Attributes:
        function: the live function.
        owner: the class that it was found in; its first parameter is ``self`` or ``cls`` then.
    """

    def __init__(self, function: FunctionType, node: FunctionNode, owner: type | None) -> None:
        self.function = function
        self.node = node
        self.owner = owner
        self.parameters = {each.arg: each for each in _parameters(node)}
        self.assigned = _assigned(node)
        self.used = _used(node)
        self._imported = dict(_imports(node))
        self._closure = _closure(function)

    def resolve(self, expression: ast.expr) -> Any:
        """What an expression stands for, ``UNKNOWN``, or ``Unloaded``."""
        if isinstance(expression, ast.Name):
            return self._name(expression.id)
        if isinstance(expression, ast.Attribute):
            if self.is_self(expression.value) and self.owner is not None:
                return _static(self.owner, expression.attr)
            return attribute(self.resolve(expression.value), expression.attr)
        return UNKNOWN

    def is_self(self, expression: ast.expr) -> bool:
        """Whether it is the method's own instance or class."""
        if self.owner is None or not isinstance(expression, ast.Name) or not self.parameters:
            return False
        return expression.id == next(iter(self.parameters)) and expression.id in ("self", "cls")

    def _name(self, name: str) -> Any:
        if name in self._imported:
            return _loaded(self._imported[name])
        if name in self.parameters or name in self.assigned:
            return UNKNOWN
        if name in self._closure:
            return self._closure[name]
        if name in self.function.__globals__:
            return self.function.__globals__[name]
        return getattr(builtins, name, UNKNOWN)


def attribute(of: Any, name: str) -> Any:
    """An attribute of a module or class; of everything else it is unknown."""
    if isinstance(of, Unloaded):
        return _loaded(f"{of.name}.{name}")
    if isinstance(of, ModuleType):
        return vars(of).get(name, UNKNOWN)
    if isinstance(of, type):
        return _bound(of, name)
    return UNKNOWN


def _static(cls: type, name: str) -> Any:
    value = inspect.getattr_static(cls, name, UNKNOWN)
    return value.__func__ if isinstance(value, staticmethod | classmethod) else value


def _bound(cls: type, name: str) -> Any:
    """As Python would look it up, where that runs none of the user's code."""
    value = _static(cls, name)
    if value is UNKNOWN or isinstance(value, FunctionType | property):
        return value
    try:
        return getattr(cls, name)
    except Exception:
        return UNKNOWN


def _loaded(name: str) -> Any:
    """A module, or something in it, by its full name; only what is loaded, or Python's own."""
    if name.partition(".")[0] in sys.stdlib_module_names and name not in sys.modules:
        try:
            return importlib.import_module(name)
        except ImportError:
            pass
    if name in sys.modules:
        return sys.modules[name]
    home, _, last = name.rpartition(".")
    if home in sys.modules:
        return attribute(sys.modules[home], last)
    return Unloaded(name)


def _parameters(node: FunctionNode) -> Iterator[ast.arg]:
    arguments = node.args
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (each for each in (arguments.vararg, arguments.kwarg) if each is not None)


def _assigned(node: FunctionNode) -> set[str]:
    """Every name that the function, or one inside of it, gives a value."""
    found: set[str] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load):
            found.add(each.id)
        elif isinstance(each, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and each.name:
            found.add(each.name)
        elif each is not node and isinstance(
            each, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        ):
            found.update(parameter.arg for parameter in _parameters(each))
            if not isinstance(each, ast.Lambda):
                found.add(each.name)
        elif isinstance(each, ast.ClassDef):
            found.add(each.name)
    return found


def _used(node: FunctionNode) -> set[str]:
    """Every name that is read, or that lives on outside of the function."""
    found: set[str] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
            found.add(each.id)
        elif isinstance(each, ast.Global | ast.Nonlocal):
            found.update(each.names)
    return found


def _imports(node: FunctionNode) -> Iterator[tuple[str, str]]:
    """Names that are imported inside the function, with what they stand for."""
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            for alias in each.names:
                if alias.asname:
                    yield alias.asname, alias.name
                else:
                    yield (alias.name.partition(".")[0],) * 2
        elif isinstance(each, ast.ImportFrom) and each.module and not each.level:
            for alias in each.names:
                yield alias.asname or alias.name, f"{each.module}.{alias.name}"


def _closure(function: FunctionType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            found[name] = UNKNOWN
    return found
