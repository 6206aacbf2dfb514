"""Watching what a workflow's code calls, through ``sys.monitoring``.

The interpreter reports each call that the user's own functions make, and only theirs: events are
switched on for their code objects one by one. A function is watched when the workflow's class has
it, when watched code mentions it by name, or, at the latest, when watched code calls it. Nothing is
imported again, and nobody else's calls cost anything.

The reports come whoever runs the code. They count only while a workflow's loop is the running one,
so that an activity may share functions with workflows.
"""

from __future__ import annotations

import logging
import sys
from asyncio import events
from collections.abc import Iterator
from types import (
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, Final
from weakref import WeakSet

from loom.authoring.activity import is_activity
from loom.authoring.call_table import CallTable, Forbidden, When
from loom.authoring.user_code import (
    count_as_user_code,
    functions_of,
    is_users_class,
    is_users_code,
    is_users_file,
    unwrapped,
)
from loom.engine.environment_watch import watch_environment
from loom.engine.exception_watch import watch_exceptions
from loom.engine.forgotten import excuse
from loom.engine.guards import Guard
from loom.engine.loop import DeterministicLoop, WorkflowTask

_log = logging.getLogger("loom.workflow")

_monitoring = sys.monitoring
_CALL: Final = _monitoring.events.CALL
_MISSING: Final = _monitoring.MISSING

_TOOLS: Final = (4, 3)
"""Ids that no kind of tool has a claim on; debuggers, coverage and profilers have their own."""

_CLOSE: Final = CoroutineType.close

_HARMLESS: Final = frozenset({str, int, float, bool, bytes, list, tuple, dict, set, range, type})


class CallWatch:
    """The calls of all workflows of this process."""

    def __init__(self) -> None:
        self._table = CallTable()
        self._modules = len(sys.modules)
        self._classes: WeakSet[type] = WeakSet()
        # By identity, for code objects are compared by all that is in them. They are kept, or
        # others could take their places in memory.
        self._seen: dict[int, CodeType] = {}
        self._tool = _free_tool()
        if self._tool is not None:
            _monitoring.register_callback(self._tool, _CALL, self._on_call)
            watch_environment(self._tool)
            watch_exceptions(self._tool)

    def watch(self, workflow: type) -> None:
        """Watch a workflow's class, and what its code mentions."""
        if workflow not in self._classes:
            count_as_user_code(workflow)
            self._watch_class(workflow)

    # --- what is watched ---

    def _watch_class(self, cls: type) -> None:
        if cls not in self._classes:
            self._classes.add(cls)
            for function in functions_of(cls):
                if not is_activity(function):
                    self._watch_function(function)

    def _watch_function(self, function: FunctionType) -> None:
        """Watch a function and those that it mentions by name."""
        waiting = [function]
        while waiting:
            function = waiting.pop()
            code = function.__code__
            # What must not be called is never counted as seen, or its calls would be passed over.
            if id(code) not in self._seen and self._find(function) is None:
                self._seen[id(code)] = code
                if is_users_code(code):
                    self._switch_on(code)
                    waiting += self._mentioned(function)

    def _switch_on(self, code: CodeType) -> None:
        if self._tool is not None:
            _monitoring.set_local_events(self._tool, code, _CALL)
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                self._seen[id(inner)] = inner
                self._switch_on(inner)

    def _mentioned(self, function: FunctionType) -> Iterator[FunctionType]:
        for value in _values(function):
            if isinstance(value, type):
                if is_users_class(value):
                    self._watch_class(value)
            # What is named to `ctx.activity` is not called by the workflow.
            elif not is_activity(value):
                self._watch_class_of(value)
                yield from unwrapped(value)

    def _watch_class_of(self, value: Any) -> None:
        """Watch what an object of the user's does when it is called or asked for a property."""
        if not isinstance(value, FunctionType | ModuleType) and is_users_class(type(value)):
            self._watch_class(type(value))

    # --- what is called ---

    def _on_call(self, code: CodeType, offset: int, called: Any, first: Any) -> None:
        loop = events._get_running_loop()
        if loop.__class__ is not DeterministicLoop:
            return
        kind = called.__class__
        if kind is FunctionType:
            if id(called.__code__) in self._seen:
                return
            if is_activity(called):
                self._on_activity(loop, called)
                return
        elif kind is MethodDescriptorType or (kind is type and called in _HARMLESS):
            if called is _CLOSE:
                excuse(first)
            return
        forbidden = self._find(called)
        if forbidden is None:
            if kind is not BuiltinFunctionType and not self._is_known_method(called):
                self._follow(called)
        elif _breaks(forbidden, first):
            guard = loop.guard
            if isinstance(guard, Guard):
                guard.on_call(forbidden, sys._getframe(1))

    def _find(self, called: Any) -> Forbidden | None:
        if len(sys.modules) != self._modules:
            # Something has been imported that may be in the table.
            self._modules = len(sys.modules)
            self._table.refresh()
        return self._table.find(called)

    def _is_known_method(self, called: Any) -> bool:
        if called.__class__ is not MethodType:
            return False
        function = called.__func__
        return function.__class__ is FunctionType and id(function.__code__) in self._seen

    def _on_activity(self, loop: DeterministicLoop, activity: Any) -> None:
        if isinstance(loop.guard, Guard):
            loop.guard.on_activity(activity.__name__, sys._getframe(2))

    def _follow(self, called: Any) -> None:
        if isinstance(called, type):
            if called not in self._classes and is_users_class(called):
                self._watch_class(called)
            return
        if isinstance(called, MethodType):
            called = called.__func__
        self._watch_class_of(called)
        for function in unwrapped(called):
            self._watch_function(function)


def _values(function: FunctionType) -> Iterator[Any]:
    """What the names that a function uses stand for in its module and in modules of the user."""
    names = set(_names(function.__code__))
    values = [function.__globals__[name] for name in names if name in function.__globals__]
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:
            continue
    for value in values:
        yield value
        if isinstance(value, ModuleType) and is_users_file(getattr(value, "__file__", None) or "<"):
            yield from (vars(value)[name] for name in names if name in vars(value))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _breaks(forbidden: Forbidden, first: Any) -> bool:
    if forbidden.when is When.WITHOUT_ARGUMENTS:
        return first is _MISSING
    if forbidden.when is When.UNLESS_TASKS:
        # Tasks of a run have an order even in a set; other futures do not.
        return not (
            isinstance(first, list | tuple | set | frozenset)
            and all(isinstance(each, WorkflowTask) for each in first)
        )
    return True


def _free_tool() -> int | None:
    for tool in _TOOLS:
        if _monitoring.get_tool(tool) is None:
            _monitoring.use_tool_id(tool, "loom")
            return tool
    _log.warning(
        "both free ids of sys.monitoring are taken: what workflows call directly, such as "
        "time.time(), is not watched"
    )
    return None
