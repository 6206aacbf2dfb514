"""What one worker can run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from loom.authoring.activity import ActivityDefinition, activity_definition
from loom.authoring.compiled import CompiledWorkflow, compiled_workflow
from loom.errors import DefinitionError
from loom.given import shown


class Registry:
    """Workflows by name and version, and activities by name.

    Raises ``DefinitionError`` when two of them share a name, or when an annotation cannot be
    resolved: better at the worker's start than in the middle of a run.
    """

    def __init__(
        self, workflows: Iterable[type] = (), activities: Iterable[Callable[..., Any]] = ()
    ) -> None:
        self.workflows: dict[tuple[str, str], CompiledWorkflow] = {}
        self.activities: dict[str, ActivityDefinition] = {}
        for cls in _listed("workflows", workflows):
            self._add_workflow(compiled_workflow(cls))
        for function in _listed("activities", activities):
            self._add_activity(activity_definition(function))

    def __bool__(self) -> bool:
        return bool(self.workflows or self.activities)

    def workflow(self, name: str, version: str) -> CompiledWorkflow | None:
        return self.workflows.get((name, version))

    def activity(self, name: str) -> ActivityDefinition | None:
        return self.activities.get(name)

    def _add_workflow(self, compiled: CompiledWorkflow) -> None:
        key = (compiled.name, compiled.version)
        if self.workflows.setdefault(key, compiled) is not compiled:
            raise DefinitionError(
                f"Two workflows are named {compiled.name!r} in version {compiled.version!r}."
            )
        _ = (compiled.input_type, compiled.state_schema, compiled.result_type)
        compiled.handlers.resolve_types()

    def _add_activity(self, definition: ActivityDefinition) -> None:
        if definition.call_options is not None:
            raise DefinitionError(
                f"with_options() is for calls of activity {definition.name!r}: give the worker the "
                "activity itself."
            )
        if self.activities.setdefault(definition.name, definition) is not definition:
            raise DefinitionError(f"Two activities are named {definition.name!r}.")
        _ = (definition.arguments_type, definition.result_type)


def _listed[T](what: str, given: Iterable[T]) -> Iterable[T]:
    """What was given, if it is several: one alone is easily given without its brackets."""
    # A class may be iterable, as an enumeration is.
    if isinstance(given, type | str | bytes) or not isinstance(given, Iterable):
        name = getattr(given, "__name__", "...")
        raise DefinitionError(f"{what}={shown(given)} is no list: write {what}=[{name}].")
    return given
