"""``@workflow``, and what it makes of a class: a definition that can be started and run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, ForwardRef, TypeVar, get_args, get_origin, overload

from loom.authoring.context import WorkflowContext
from loom.authoring.handlers import HandlerTable
from loom.authoring.names import check_name, type_hints
from loom.authoring.state import StateSchema
from loom.authoring.workflow import STEP_ATTRIBUTE, StepOptions, Workflow
from loom.errors import DefinitionError

_ATTRIBUTE: Final = "__loom_workflow__"


class CompiledWorkflow:
    """A workflow class, checked and taken apart.

    Attributes:
        cls: the class.
        name, version: under which its runs are stored.
        input_type: what ``ctx.input`` is.
        steps: its step methods by name, in order of definition; empty when it has a ``run``.
        handlers: what answers signals, queries and updates.
    """

    def __init__(self, cls: type[Workflow[Any, Any]], name: str, version: str) -> None:
        self.cls = cls
        self.name = check_name("workflow", name)
        self.version = check_name("version", version)
        self.input_type, self._state_type = _type_arguments(cls)
        self.steps = _steps(cls)
        self.handlers = HandlerTable(cls)
        self._check()

    def version_for(self, wanted: str | None) -> str:
        """The version of a run that is to be started. Raises ``DefinitionError`` when another is
        wanted: this code cannot run it."""
        if wanted not in (None, self.version):
            raise DefinitionError(
                f"{self.cls.__qualname__} is version {self.version!r} of {self.name!r}, not "
                f"{wanted!r}. Give the class of that version, or the name in place of the class."
            )
        return self.version

    @cached_property
    def state_schema(self) -> StateSchema:
        return StateSchema(self._state_type)

    @cached_property
    def result_type(self) -> Any:
        if self.steps:
            return self.state_schema.result_type
        return type_hints(self._run_method).get("return", Any)

    @property
    def returns_state(self) -> bool:
        """Whether the result is the final state, rather than what ``run`` returns."""
        return bool(self.steps)

    def new_object(self, ctx: WorkflowContext[Any, Any]) -> Workflow[Any, Any]:
        """The object whose methods are a run's code; it has its context from the beginning."""
        workflow = self.cls.__new__(self.cls)
        workflow.ctx = ctx
        workflow.__init__()  # type: ignore[misc]  # on an object of exactly that class
        return workflow

    async def execute(self, workflow: Workflow[Any, Any], ctx: WorkflowContext[Any, Any]) -> Any:
        """Run the workflow's code from its beginning to its end."""
        if not self.steps:
            return await self._run_method(workflow, ctx)
        for method in self.steps.values():
            await method(workflow, ctx)
        return None

    @property
    def _run_method(self) -> Callable[..., Any]:
        method: Callable[..., Any] = self.cls.run  # type: ignore[attr-defined]
        return method

    def _check(self) -> None:
        name = self.cls.__qualname__
        has_run = hasattr(self.cls, "run")
        if has_run and self.steps:
            raise DefinitionError(f"{name} has both @step methods and a run method; keep one kind.")
        if not has_run and not self.steps:
            raise DefinitionError(
                f"{name} has nothing to run: it needs @step methods or an `async def run`."
            )
        methods = self.steps if self.steps else {"run": self._run_method}
        for method_name, method in methods.items():
            if not inspect.iscoroutinefunction(method):
                raise DefinitionError(f"{name}: {method_name!r} must be an `async def`.")
            try:
                inspect.signature(method).bind(None, None)
            except TypeError:
                raise DefinitionError(
                    f"{name}: {method_name!r} must take exactly (self, ctx)."
                ) from None
        try:
            inspect.signature(self.cls).bind()
        except TypeError:
            raise DefinitionError(
                f"{name}.__init__ must take no arguments: a run gets its input as ctx.input."
            ) from None


@overload
def workflow[W: type](cls: W, /) -> W: ...


@overload
def workflow[W: type](*, name: str | None = None, version: str = "1") -> Callable[[W], W]: ...


def workflow(cls: type | None = None, /, *, name: str | None = None, version: str = "1") -> Any:
    """Make a class a workflow.

    Args:
        name: under which its runs are stored; by default the class's own name.
        version: runs are worked on only by workers that have their version.

    Raises:
        DefinitionError: the class cannot work as a workflow; the message says why.
    """

    def decorate(cls: type) -> type:
        if not isinstance(cls, type) or not issubclass(cls, Workflow):
            raise DefinitionError(
                f"@workflow was put on {cls!r}, which does not derive from loom.Workflow. Options "
                'are given by name, as in @workflow(name="...").'
            )
        stored_name = cls.__name__ if name is None else name
        setattr(cls, _ATTRIBUTE, CompiledWorkflow(cls, stored_name, version))
        return cls

    return decorate if cls is None else decorate(cls)


def is_workflow(candidate: object) -> bool:
    """Whether something is a class that was itself decorated with ``@workflow``."""
    return isinstance(candidate, type) and _ATTRIBUTE in candidate.__dict__


def compiled_workflow(cls: object) -> CompiledWorkflow:
    """The definition behind a decorated class. Raises ``DefinitionError`` when there is none."""
    compiled = cls.__dict__.get(_ATTRIBUTE) if isinstance(cls, type) else None
    if isinstance(compiled, CompiledWorkflow):
        return compiled
    raise DefinitionError(f"{cls!r} is not a workflow: decorate the class with @loom.workflow.")


def _steps(cls: type) -> dict[str, Callable[..., Any]]:
    """Step methods by step name; a subclass's override keeps the place of what it overrides."""
    names: dict[str, str] = {}
    methods: dict[str, Callable[..., Any]] = {}
    for base in reversed(cls.__mro__):
        for attribute, value in base.__dict__.items():
            options = getattr(value, STEP_ATTRIBUTE, None)
            if isinstance(options, StepOptions):
                names[attribute] = options.name
            if attribute in names:
                methods[attribute] = value
    steps: dict[str, Callable[..., Any]] = {}
    for attribute, name in names.items():
        if name in steps:
            raise DefinitionError(f"{cls.__qualname__} has two steps named {name!r}.")
        steps[name] = methods[attribute]
    return steps


def _type_arguments(cls: type) -> tuple[Any, Any]:
    """What ``Workflow[InputT, StateT]`` was given, wherever in the class's ancestry."""
    found = _arguments_of(cls, {}) or (Any, Any)
    if any(isinstance(argument, ForwardRef) for argument in found):
        raise DefinitionError(
            f"{cls.__qualname__}: give Workflow[...] the types themselves, not their names as text."
        )
    return found[0], found[1]


def _arguments_of(cls: type, given: Mapping[Any, Any]) -> tuple[Any, ...] | None:
    """The arguments of ``Workflow`` as a base of ``cls``, whose own type parameters are ``given``.

    A parameter that nobody gave a type is ``Any``.
    """
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin = get_origin(base) or base
        if not issubclass(origin, Workflow):
            continue
        arguments = tuple(_filled(argument, given) for argument in get_args(base))
        if origin is Workflow:
            return arguments
        parameters = origin.__dict__.get("__type_params__") or origin.__dict__["__parameters__"]
        found = _arguments_of(origin, dict(zip(parameters, arguments, strict=False)))
        if found:
            return found
    return None


def _filled(argument: Any, given: Mapping[Any, Any]) -> Any:
    if isinstance(argument, TypeVar):
        return given.get(argument, Any)
    parameters = getattr(argument, "__parameters__", ())
    if parameters:
        return argument[tuple(given.get(parameter, Any) for parameter in parameters)]
    return argument
