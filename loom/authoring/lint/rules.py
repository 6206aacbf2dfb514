"""The rules, applied to one function: which of them it breaks, and what it calls in turn."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

from loom.authoring.activity import is_activity
from loom.authoring.call_table import BY_NAME, CallTable, Forbidden, When
from loom.authoring.context import WorkflowContext
from loom.authoring.forbidden import (
    ACTIVITY_CALL,
    ENVIRONMENT,
    FORBIDDEN_LOOP_METHODS,
    FORGOTTEN_AWAIT,
    HASH,
    SET_ITERATION,
    SWALLOW,
    Rule,
)
from loom.authoring.lint.findings import Breach
from loom.authoring.lint.scope import UNKNOWN, Scope, Unloaded
from loom.authoring.lint.types import Types

_HASHES: Final = (hash, id)
_ORDER_BLIND: Final = (sorted, set, frozenset, min, max, sum, len, any, all)
"""What may be given a set, for its order does not matter to them."""
_ORDERED: Final = (list, tuple, enumerate, iter, zip, map, filter, reversed, str, repr)
_ORDERED_METHODS: Final = frozenset({"join", "extend", "fromkeys"})


class FunctionCheck(ast.NodeVisitor):
    """One function, read from its beginning to its end.

    Attributes:
        breaches: what breaks a rule.
        mentioned: the functions and classes that it calls or passes on.
    """

    def __init__(self, scope: Scope, table: CallTable) -> None:
        self.breaches: list[Breach] = []
        self.mentioned: list[Any] = []
        self._scope = scope
        self._types = Types(scope)
        self._table = table
        body = scope.node.body
        for statement in body if isinstance(body, list) else [body]:
            self.visit(statement)

    # --- what is passed over ---

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item)
        if not any(self._lifts_guards(item.context_expr) for item in node.items):
            for statement in node.body:
                self.visit(statement)

    visit_AsyncWith = visit_With

    def _lifts_guards(self, expression: ast.expr) -> bool:
        return isinstance(expression, ast.Call) and _last_name(expression.func) == "unguarded"

    # --- calls ---

    def visit_Call(self, node: ast.Call) -> None:
        self.visit(node.func)
        if _last_name(node.func) == "side_effect":
            # What it is given runs once, and its result is recorded.
            return
        self._check_call(node)
        self._check_sets_given(node)
        for argument in _arguments(node):
            self._check_passed(argument)
            if not self._is_blind_to_order(node, argument):
                self.visit(argument)

    def visit_Expr(self, node: ast.Expr) -> None:
        self._check_awaited(node.value)
        self.generic_visit(node)

    def _check_awaited(self, value: ast.expr) -> None:
        """What nobody has a use for must not be a coroutine."""
        if isinstance(value, ast.Call) and self._makes_coroutine(value):
            self._report(value, FORGOTTEN_AWAIT, f"{ast.unparse(value.func)}()")

    def _makes_coroutine(self, node: ast.Call) -> bool:
        called = self._types.callee(node)
        if called is UNKNOWN and isinstance(node.func, ast.Attribute):
            # A context whose type is not written down is known by its usual name.
            is_context = _last_name(node.func.value) == "ctx"
            called = getattr(WorkflowContext, node.func.attr, None) if is_context else None
        # Those that are activities break another rule.
        return inspect.iscoroutinefunction(called) and not is_activity(called)

    def _check_call(self, node: ast.Call) -> None:
        called = self._types.callee(node)
        if is_activity(called):
            self._report(node, ACTIVITY_CALL, ast.unparse(node.func))
        elif called in _HASHES if isinstance(called, BuiltinFunctionType) else False:
            self._report(node, HASH, f"{called.__name__}()")
        elif called is UNKNOWN:
            self._check_method(node)
        else:
            entry = self._entry(called)
            if entry is not None and self._breaks(node, entry):
                self._report(node, entry.rule, f"{entry.name}()")
            elif entry is None and isinstance(called, type):
                self._check_factories(node, called)

    def _check_method(self, node: ast.Call) -> None:
        rule = FORBIDDEN_LOOP_METHODS.get(_last_name(node.func) or "")
        if rule is not None and isinstance(node.func, ast.Attribute):
            self._report(node, rule, f"{ast.unparse(node.func)}()")

    def _check_factories(self, node: ast.Call, cls: type) -> None:
        """Default values are made where an instance is: by the workflow's code."""
        for field, factory in default_factories(cls):
            entry = self._entry(factory)
            if entry is not None and entry.when is not When.UNLESS_TASKS:
                made = f"{entry.name}(), the default of {cls.__name__}.{field},"
                self._report(node, entry.rule, made)

    def _check_passed(self, argument: ast.expr) -> None:
        """A function that is passed on will be called, as in ``map(random.choice, ...)``."""
        if isinstance(argument, ast.Name | ast.Attribute):
            entry = self._entry(self._scope.resolve(argument))
            if entry is not None and entry.when is When.ALWAYS and not self._is_class(argument):
                self._report(argument, entry.rule, entry.name)

    def _is_class(self, argument: ast.expr) -> bool:
        return isinstance(self._scope.resolve(argument), type)

    def _entry(self, called: Any) -> Forbidden | None:
        if isinstance(called, Unloaded):
            return BY_NAME.get(called.name)
        if isinstance(called, FunctionType | BuiltinFunctionType | MethodType | type):
            return self._table.find(called)
        return None

    def _breaks(self, node: ast.Call, entry: Forbidden) -> bool:
        if entry.when is When.WITHOUT_ARGUMENTS:
            return not (node.args or node.keywords)
        if entry.when is When.UNLESS_TASKS:
            return not (node.args and self._is_list_of_tasks(node.args[0]))
        return True

    def _is_list_of_tasks(self, given: ast.expr) -> bool:
        if isinstance(given, ast.Name):
            values = self._types.values_of(given.id)
            return len(values) == 1 and self._is_list_of_tasks(values[0])
        if isinstance(given, ast.ListComp):
            return _makes_task(given.elt)
        return isinstance(given, ast.List) and all(
            _makes_task(each)
            or (isinstance(each, ast.Name) and all(map(_makes_task, self._values(each))))
            for each in given.elts
        )

    def _values(self, name: ast.Name) -> list[ast.expr | None]:
        return [*self._types.values_of(name.id)] or [None]

    # --- sets ---

    def visit_For(self, node: ast.For) -> None:
        self._check_iterated(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._check_iterated(node.iter)
        self.generic_visit(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        # A set again: what it is made from in which order is forgotten.
        self._visit_unordered(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._check_iterated(node.value)
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self._check_iterated(node.value)
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        self._check_iterated(node.value)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Tuple | ast.List) for target in node.targets):
            self._check_iterated(node.value)
        if all(self._is_unused(target) for target in node.targets):
            self._check_awaited(node.value)
        self.generic_visit(node)

    def _is_unused(self, target: ast.expr) -> bool:
        return isinstance(target, ast.Name) and target.id not in self._scope.used

    def _check_sets_given(self, node: ast.Call) -> None:
        called = self._types.callee(node)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else None
        if isinstance(called, type | BuiltinFunctionType) and called in _ORDERED:
            for argument in node.args:
                self._check_iterated(argument)
        elif method in _ORDERED_METHODS and node.args:
            self._check_iterated(node.args[0])
        elif isinstance(node.func, ast.Attribute) and method == "pop" and not node.args:
            self._check_iterated(node.func.value)

    def _check_iterated(self, iterated: ast.expr) -> None:
        if self._types.is_unordered(iterated):
            self._report(iterated, SET_ITERATION, f"Iterating over {_shown(iterated)}")

    def _is_blind_to_order(self, node: ast.Call, argument: ast.expr) -> bool:
        """Whether a generator goes to somebody who does not care for its order."""
        called = self._types.callee(node)
        if not isinstance(argument, ast.GeneratorExp | ast.ListComp):
            return False
        if not (isinstance(called, type | BuiltinFunctionType) and called in _ORDER_BLIND):
            return False
        self._visit_unordered(argument)
        return True

    def _visit_unordered(self, node: ast.SetComp | ast.GeneratorExp | ast.ListComp) -> None:
        self.visit(node.elt)
        for generator in node.generators:
            for part in (generator.iter, *generator.ifs):
                self.visit(part)

    # --- the rest ---

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        raises = any(isinstance(each, ast.Raise) for each in ast.walk(node))
        if not raises and (node.type is None or self._scope.resolve(node.type) is BaseException):
            caught = "except BaseException" if node.type else "A bare except"
            self._report(node, SWALLOW, caught)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._mention(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._mention(node)
        self.generic_visit(node)

    def _mention(self, node: ast.Name | ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            value = self._scope.resolve(node)
            if value is os.environ:
                self._report(node, ENVIRONMENT, ast.unparse(node))
            if value is UNKNOWN and isinstance(node, ast.Attribute):
                value = self._types.attribute_of(node)
            if isinstance(value, FunctionType | MethodType | type | property):
                self.mentioned.append(value)

    def _report(self, node: ast.expr | ast.ExceptHandler, rule: Rule, subject: str) -> None:
        self.breaches.append(Breach(node.lineno, node.col_offset + 1, rule, subject))


def default_factories(cls: type) -> Iterator[tuple[str, Any]]:
    """What makes the default values of a dataclass's or model's fields, by field."""
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if field.default_factory is not dataclasses.MISSING:
                yield field.name, field.default_factory
    for name, info in getattr(cls, "__pydantic_fields__", {}).items():
        if getattr(info, "default_factory", None) is not None:
            yield name, info.default_factory


def _arguments(node: ast.Call) -> list[ast.expr]:
    return [*node.args, *(keyword.value for keyword in node.keywords)]


def _last_name(expression: ast.expr) -> str | None:
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else None


def _makes_task(expression: ast.expr | None) -> bool:
    return isinstance(expression, ast.Call) and _last_name(expression.func) == "create_task"


def _shown(expression: ast.expr) -> str:
    text = ast.unparse(expression)
    return text if len(text) <= 60 else text[:57] + "..."
