"""The static check: everything that a workflow's code reaches, against every rule."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from types import FunctionType, MethodType
from typing import Any

from loom.authoring.activity import is_activity
from loom.authoring.call_table import CallTable
from loom.authoring.compiled import CompiledWorkflow, compiled_workflow
from loom.authoring.forbidden import RULES
from loom.authoring.lint.findings import Breach, Finding
from loom.authoring.lint.rules import FunctionCheck
from loom.authoring.lint.scope import Scope
from loom.authoring.lint.source import SourceFile, function_node
from loom.authoring.user_code import (
    count_as_user_code,
    functions_of,
    is_users_class,
    is_users_code,
    unwrapped,
)
from loom.authoring.workflow import Workflow


def lint(workflows: Iterable[type], *, rules: Container[str] = RULES) -> list[Finding]:
    """What in these workflows may not replay, in the order of the source.

    Their methods are read, and the user's own functions and classes that these mention, and so on.
    Activities, queries and validators are not, for they are not replayed, nor are libraries. A
    function without source is passed over.

    Args:
        workflows: classes decorated with ``@workflow``.
        rules: the ids of the rules to check; by default all.

    Raises:
        DefinitionError: a class is no workflow.
    """
    check = _Check(rules)
    for cls in workflows:
        check.add_workflow(compiled_workflow(cls))
    return sorted(check.findings)


class _Check:
    def __init__(self, rules: Container[str]) -> None:
        self.findings: set[Finding] = set()
        self._rules = rules
        self._table = CallTable()
        self._seen: set[object] = set()

    def add_workflow(self, workflow: CompiledWorkflow) -> None:
        cls, readers = workflow.cls, workflow.handlers.readers
        count_as_user_code(cls)
        self._follow((each, cls) for each in functions_of(cls) if each not in readers)

    def _follow(self, found: Iterable[tuple[FunctionType, type | None]]) -> None:
        """Read functions, then those that they mention, each once."""
        waiting = list(found)
        while waiting:
            function, owner = waiting.pop()
            key = (function.__code__, owner)
            if key not in self._seen and is_users_code(function.__code__):
                self._seen.add(key)
                if not is_activity(function):
                    waiting += self._read(function, owner)

    def _read(
        self, function: FunctionType, owner: type | None
    ) -> list[tuple[FunctionType, type | None]]:
        found = function_node(function.__code__)
        if found is None:
            return []
        source, node = found
        check = FunctionCheck(Scope(function, node, owner), self._table)
        self._report(check.breaches, source, function.__qualname__)
        return [each for value in check.mentioned for each in _functions(value)]

    def _report(self, breaches: Iterable[Breach], source: SourceFile, function: str) -> None:
        for breach in breaches:
            rule = breach.rule
            if rule.id in self._rules and not source.ignores(rule.id, breach.line):
                self.findings.add(
                    Finding(
                        path=source.path,
                        line=breach.line,
                        column=breach.column,
                        function=function.replace(".<locals>", ""),
                        rule=rule.id,
                        problem=f"{breach.subject} {rule.problem}",
                        instead=rule.instead,
                    )
                )


def _functions(mentioned: Any) -> Iterator[tuple[FunctionType, type | None]]:
    """The functions to read because of what was mentioned, each with the class it belongs to."""
    owner = None
    if isinstance(mentioned, MethodType):
        owner = mentioned.__self__ if isinstance(mentioned.__self__, type) else None
        mentioned = mentioned.__func__
    if not isinstance(mentioned, type):
        yield from ((function, owner) for function in unwrapped(mentioned))
    # A workflow that is mentioned is a child, which is checked where it is served.
    elif is_users_class(mentioned) and not issubclass(mentioned, BaseException | Workflow):
        yield from ((function, mentioned) for function in functions_of(mentioned))
