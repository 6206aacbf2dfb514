"""The type of an expression, as far as it is written down: annotations, literals, constructors."""

from __future__ import annotations

import ast
import collections.abc as abstract
import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from types import FunctionType, UnionType
from typing import Any, Final, Union, cast, get_args, get_origin, get_type_hints

from loom.authoring.activity import is_activity
from loom.authoring.compiled import compiled_workflow, is_workflow
from loom.authoring.context import WorkflowContext
from loom.authoring.lint.scope import UNKNOWN, Scope, attribute

_SETS: Final = (set, frozenset, abstract.Set, abstract.MutableSet)
_SET_METHODS: Final = frozenset(
    {"union", "intersection", "difference", "symmetric_difference", "copy"}
)
_SET_OPERATORS: Final = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)


class Types:
    """Infers the types of the expressions of one function; ``None`` where it cannot tell."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._hints = _hints(scope.function)
        self._values = dict(_assignments(scope))
        self._under_way: set[str] = set()

    def of(self, expression: ast.expr) -> Any:
        """The type, as an annotation would name it."""
        infer = _INFERENCES.get(type(expression))
        return infer(self, expression) if infer else None

    def is_unordered(self, expression: ast.expr) -> bool:
        """Whether it is a set whose order may differ between processes.

        Whole numbers are hashed as themselves, so that a set of them is always in the same order.
        """
        declared = self.of(expression)
        if not _is_set(declared):
            return False
        elements = get_args(declared)
        return not elements or not all(_is_whole(each) for each in elements)

    def values_of(self, name: str) -> list[ast.expr]:
        """Everything that a variable is given; empty when that cannot be told."""
        values = self._values.get(name, ())
        return [value for value in values if isinstance(value, ast.expr)]

    def attribute_of(self, node: ast.Attribute) -> Any:
        """An attribute of an instance, as its class defines it."""
        base = self.of(node.value)
        return attribute(get_origin(base) or base, node.attr)

    def _name(self, node: ast.Name) -> Any:
        if node.id in self._scope.parameters:
            return self._parameter(node.id)
        if node.id in self._scope.assigned:
            return self._variable(node.id)
        value = self._scope.resolve(node)
        return set if isinstance(value, set | frozenset) and not _all_whole(value) else None

    def _parameter(self, name: str) -> Any:
        hint = self._hints.get(name)
        owner = self._scope.owner
        is_context = get_origin(hint) is WorkflowContext or hint is WorkflowContext
        if is_context and owner is not None and is_workflow(owner):
            workflow = compiled_workflow(owner)
            types: Any = (workflow.input_type, workflow.state_schema.declared)
            return cast(Any, WorkflowContext)[types]
        return hint

    def _variable(self, name: str) -> Any:
        """The type that all values of a variable have; one of an unknown type spoils it."""
        if name in self._under_way:
            return None
        self._under_way.add(name)
        try:
            found = [self._assigned(value) for value in self._values.get(name, ())]
        finally:
            self._under_way.discard(name)
        known = [each for each in found if each is not None]
        if not known or len(known) < len(found):
            return None
        if all(_is_set(each) for each in known):
            return next((each for each in known if not _of_whole_numbers(each)), known[0])
        return known[0] if all(each == known[0] for each in known) else None

    def _assigned(self, value: ast.expr | _Annotation) -> Any:
        if isinstance(value, _Annotation):
            return _evaluated(value.node, self._scope)
        return self.of(value)

    def _attribute(self, node: ast.Attribute) -> Any:
        base = self.of(node.value)
        if get_origin(base) is WorkflowContext and node.attr in ("input", "state"):
            return get_args(base)[node.attr == "state"]
        if self._scope.is_self(node.value):
            base = self._scope.owner
        return _class_hints(get_origin(base) or base).get(node.attr)

    def _subscript(self, node: ast.Subscript) -> Any:
        base = self.of(node.value)
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            field = _class_hints(base).get(node.slice.value)
            if field is not None:
                return field
        arguments = get_args(base)
        if get_origin(base) in (dict, abstract.Mapping, abstract.MutableMapping) and arguments:
            return arguments[-1]
        return arguments[0] if get_origin(base) in (list, abstract.Sequence) else None

    def _call(self, node: ast.Call) -> Any:
        called = self.callee(node)
        if called in (set, frozenset):
            return self._of_elements(node)
        if isinstance(called, type):
            return called
        if isinstance(called, FunctionType):
            return None if inspect.iscoroutinefunction(called) else _result(called)
        if isinstance(node.func, ast.Attribute):
            base = self.of(node.func.value)
            if _is_set(base) and node.func.attr in _SET_METHODS:
                return base
        return None

    def callee(self, node: ast.Call) -> Any:
        """What a call calls: a function, a class, or ``UNKNOWN``."""
        called = self._scope.resolve(node.func)
        if called is UNKNOWN and isinstance(node.func, ast.Attribute):
            return self.attribute_of(node.func)
        return called

    def _of_elements(self, node: ast.Call) -> Any:
        if len(node.args) == 1:
            called = self.callee(node.args[0]) if isinstance(node.args[0], ast.Call) else None
            elements = get_args(self.of(node.args[0]))
            if called is range or (elements and _is_whole(elements[0])):
                return set[int]
        return set

    def _awaited(self, node: ast.Await) -> Any:
        if not isinstance(node.value, ast.Call):
            return None
        called = self.callee(node.value)
        if isinstance(called, FunctionType) and not is_context_method(called):
            return _result(called)
        # `await ctx.activity(fn, ...)` has the type that fn returns.
        activity = self._scope.resolve(node.value.args[0]) if node.value.args else UNKNOWN
        return _result(activity) if is_activity(activity) else None

    def _set(self, node: ast.Set) -> Any:
        return set[int] if all(_is_whole(self.of(each)) for each in node.elts) else set

    def _set_comprehension(self, node: ast.SetComp) -> Any:
        return set[int] if _is_whole(self.of(node.elt)) else set

    def _operation(self, node: ast.BinOp) -> Any:
        if not isinstance(node.op, _SET_OPERATORS):
            return None
        sides = [self.of(node.left), self.of(node.right)]
        sets = [side for side in sides if _is_set(side)]
        if len(sets) == 2:
            return next((side for side in sets if not _of_whole_numbers(side)), sets[0])
        if sets:
            return sets[0]
        return set if _is_keys(node.left) and _is_keys(node.right) else None


def is_context_method(function: FunctionType) -> bool:
    return vars(WorkflowContext).get(function.__name__) is function


class _Annotation:
    """A type that was written at an assignment."""

    def __init__(self, node: ast.expr) -> None:
        self.node = node


def _assignments(scope: Scope) -> Iterator[tuple[str, Sequence[ast.expr | _Annotation]]]:
    """What each variable is given, where that can be told."""
    found: dict[str, list[ast.expr | _Annotation]] = {}
    given: Counter[str] = Counter()
    for node in ast.walk(scope.node):
        for target, value in _given(node):
            found.setdefault(target, []).append(value)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            given[node.id] += 1
    for name, values in found.items():
        # A loop, a `with` or the like may give it something else.
        if given[name] == len(values):
            yield name, [each for each in values if isinstance(each, _Annotation)] or values


def _given(node: ast.AST) -> Iterator[tuple[str, ast.expr | _Annotation]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id, _Annotation(node.annotation)
    elif isinstance(node, ast.NamedExpr):
        yield node.target.id, node.value
    elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        # `found |= {...}` leaves a set a set, and says nothing where it was none.
        yield node.target.id, node.value


def _evaluated(annotation: ast.expr, scope: Scope) -> Any:
    """An annotation inside a function, which Python itself never evaluates."""
    if isinstance(annotation, ast.Subscript):
        base = scope.resolve(annotation.value)
        inner = _evaluated(annotation.slice, scope)
        try:
            return base[inner] if inner is not None else base
        except TypeError:
            return None
    if isinstance(annotation, ast.Tuple):
        parts = [_evaluated(each, scope) for each in annotation.elts]
        return None if None in parts else tuple(parts)
    value = scope.resolve(annotation)
    return None if value is UNKNOWN else value


def _is_set(declared: Any) -> bool:
    if get_origin(declared) in (Union, UnionType):
        parts = [each for each in get_args(declared) if each is not type(None)]
        return bool(parts) and all(_is_set(each) for each in parts)
    origin = get_origin(declared) or declared
    return origin in _SETS if isinstance(origin, type) else False


def _of_whole_numbers(declared: Any) -> bool:
    elements = get_args(declared)
    return bool(elements) and all(_is_whole(each) for each in elements)


def _is_whole(declared: Any) -> bool:
    return declared in (int, bool)


def _all_whole(values: Iterable[object]) -> bool:
    return all(type(value) in (int, bool) for value in values)


def _is_keys(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("keys", "items")
    )


def _result(function: Any) -> Any:
    return _hints(function).get("return")


def _hints(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except Exception:
        return {}


def _class_hints(declared: Any) -> dict[str, Any]:
    return _hints(declared) if isinstance(declared, type) else {}


_INFERENCES: Final[dict[type[ast.expr], Any]] = {
    ast.Name: Types._name,
    ast.Attribute: Types._attribute,
    ast.Subscript: Types._subscript,
    ast.Call: Types._call,
    ast.Await: Types._awaited,
    ast.Set: Types._set,
    ast.SetComp: Types._set_comprehension,
    ast.Constant: lambda types, node: type(node.value),
    ast.BinOp: Types._operation,
    ast.NamedExpr: lambda types, node: types.of(node.value),
}
