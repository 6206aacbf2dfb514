"""``@signal``, ``@query`` and ``@update``: the methods by which a run is talked to."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Concatenate, Final, Literal, Protocol, Self, overload

from loom.authoring.names import check_name, type_hints
from loom.authoring.parameters import Parameters
from loom.errors import DefinitionError

_ATTRIBUTE: Final = "__loom_handler__"

type Unfinished = Literal["wait", "abandon"]
"""What the end of a run does while a handler is running: wait for it, or drop it where it is."""


type DecodeNamed = Callable[[bytes, Any, str, str], Any]
"""A payload as a value of a declared type; what it is, and of what, is told when it fails."""


class HandlerKind(StrEnum):
    """What a handler answers."""

    SIGNAL = "signal"
    QUERY = "query"
    UPDATE = "update"


@dataclass(slots=True, eq=False)
class HandlerOptions:
    """What a decorator was given."""

    kind: HandlerKind
    name: str
    dynamic: bool = False
    unfinished: Unfinished = "wait"
    validator: Callable[..., Any] | None = None


class HandlerDefinition:
    """A method that answers signals, queries or updates, checked.

    A dynamic one answers every name that has no handler of its own, and is told the name.
    """

    def __init__(self, method: Callable[..., Any], options: HandlerOptions) -> None:
        self.kind = options.kind
        self.name = options.name
        self.is_dynamic = options.dynamic
        self.unfinished = options.unfinished
        self.method = method
        self.validator = options.validator
        self.parameters = Parameters(method, self._described)
        self._check()

    @cached_property
    def payload_type(self) -> Any:
        """What the arguments are sent as."""
        if self.is_dynamic:
            return type_hints(self.method).get(self.parameters.names[1], Any)
        return self.parameters.payload_type

    @cached_property
    def result_type(self) -> Any:
        return type_hints(self.method).get("return", Any)

    def read(self, name: str, payload: bytes, decode: DecodeNamed) -> dict[str, Any]:
        """The arguments for a call by that name. Raises ``PayloadError`` when they do not fit."""
        what = f"The payload of {self.kind}"

        def read(payload: bytes, declared: Any) -> Any:
            return decode(payload, declared, what, name)

        if self.is_dynamic:
            values = (name, read(payload, self.payload_type))
            return dict(zip(self.parameters.names, values, strict=True))
        return self.parameters.read(payload, read)

    def call(self, workflow: object, arguments: dict[str, Any]) -> Any:
        return self.parameters.call(self.method, workflow, arguments)

    def validate(self, workflow: object, arguments: dict[str, Any]) -> Any:
        """Let an update's validator look at the arguments; it raises when it refuses them."""
        if self.validator is None:
            return None
        return self.parameters.call(self.validator, workflow, arguments)

    @property
    def _described(self) -> str:
        return f"The {self.kind} {self.method.__qualname__}"

    def _check(self) -> None:
        method = self.method
        if inspect.isasyncgenfunction(method) or inspect.isgeneratorfunction(method):
            raise DefinitionError(f"{self._described} is a generator; return a value.")
        if self.kind is HandlerKind.QUERY and inspect.iscoroutinefunction(method):
            raise DefinitionError(
                f"{self._described} must be a plain `def`: a query answers at once, from what is "
                "there. What has to wait for something is an update."
            )
        if self.is_dynamic and len(self.parameters.names) != 2:
            raise DefinitionError(
                f"{self._described} is dynamic, so it must take exactly (self, name, payload)."
            )
        if self.validator is not None:
            self._check_validator(self.validator)

    def _check_validator(self, validator: Callable[..., Any]) -> None:
        if inspect.iscoroutinefunction(validator):
            raise DefinitionError(f"The validator of {self.name!r} must be a plain `def`.")
        names = Parameters(validator, f"The validator of {self.name!r}").names
        if names != self.parameters.names:
            raise DefinitionError(
                f"The validator of {self.name!r} must take the same parameters as the update: "
                f"({', '.join(['self', *self.parameters.names])})."
            )


class HandlerTable:
    """The handlers of one workflow, by kind and name.

    Raises ``DefinitionError`` when two of a kind share a name, or two of a kind are dynamic.
    """

    def __init__(self, cls: type) -> None:
        self._handlers: dict[tuple[HandlerKind, str | None], HandlerDefinition] = {}
        for method, options in _decorated(cls):
            self._add(cls, HandlerDefinition(method, options))

    def __bool__(self) -> bool:
        return bool(self._handlers)

    def find(self, kind: HandlerKind, name: str) -> HandlerDefinition | None:
        """The handler of that name, or else the dynamic one."""
        return self._handlers.get((kind, name)) or self._handlers.get((kind, None))

    def names(self, kind: HandlerKind) -> list[str]:
        return [name for of_kind, name in self._handlers if of_kind is kind and name is not None]

    @property
    def readers(self) -> list[Callable[..., Any]]:
        """The methods that only look at the run, and are not called on replay: queries, and the
        validators of updates."""
        handlers = self._handlers.values()
        queries = [each.method for each in handlers if each.kind is HandlerKind.QUERY]
        return [*queries, *(each.validator for each in handlers if each.validator is not None)]

    def resolve_types(self) -> None:
        """Raises ``DefinitionError`` when an annotation cannot be resolved."""
        for handler in self._handlers.values():
            _ = (handler.payload_type, handler.result_type)

    def _add(self, cls: type, handler: HandlerDefinition) -> None:
        name = None if handler.is_dynamic else handler.name
        if self._handlers.setdefault((handler.kind, name), handler) is not handler:
            which = "dynamic" if name is None else repr(name)
            raise DefinitionError(
                f"{cls.__qualname__} has two handlers of the {handler.kind} {which}."
            )


def handler_of(method: object, kind: HandlerKind, cls: type | None = None) -> HandlerDefinition:
    """The definition behind a decorated method.

    Raises ``DefinitionError`` when there is none, or it belongs to another class than the one that
    is meant, as far as that is known.
    """
    options = getattr(method, _ATTRIBUTE, None)
    if not callable(method) or not isinstance(options, HandlerOptions) or options.kind is not kind:
        raise DefinitionError(_not_of(kind, method, options))
    if options.dynamic:
        raise DefinitionError(f"{method!r} answers any name: give the name as text.")
    if cls is not None and not _is_of(method, cls):
        name = getattr(method, "__qualname__", repr(method))
        raise DefinitionError(
            f"The {kind} {name} is none of {cls.__qualname__}, which is the workflow that this was "
            f"to be sent to. Give a method of {cls.__qualname__}, or the name as text."
        )
    return HandlerDefinition(method, options)


def _not_of(kind: HandlerKind, method: object, options: object) -> str:
    problem = f"{getattr(method, '__qualname__', repr(method))} is no {kind}"
    if isinstance(options, HandlerOptions):
        return f"{problem}: it was decorated with @loom.{options.kind}."
    return f"{problem}: decorate the method with @loom.{kind}."


def _is_of(method: object, cls: type) -> bool:
    """Whether it is a method of the class or of one that it derives from."""
    function = getattr(method, "__func__", method)
    return any(function is value for base in cls.__mro__ for value in vars(base).values())


def _decorated(cls: type) -> list[tuple[Callable[..., Any], HandlerOptions]]:
    """Decorated methods; a subclass's override keeps the place and the options of what it
    overrides."""
    options: dict[str, HandlerOptions] = {}
    methods: dict[str, Callable[..., Any]] = {}
    for base in reversed(cls.__mro__):
        for attribute, value in base.__dict__.items():
            own = getattr(value, _ATTRIBUTE, None)
            if isinstance(own, HandlerOptions):
                options[attribute] = own
            elif attribute in options and inspect.isfunction(value):
                setattr(value, _ATTRIBUTE, options[attribute])
            else:
                options.pop(attribute, None)
                continue
            methods[attribute] = value
    return [(methods[attribute], options[attribute]) for attribute in options]


# --- the decorators ------------------------------------------------------------------------------


class UpdateMethod[W, **P, R](Protocol):
    """What ``@update`` makes of a method: the method itself, and what declares its validator."""

    def __call__(self, workflow: W, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type, /) -> Callable[P, R]: ...

    def validator[F: Callable[..., None]](self, validator: F, /) -> F:
        """Make a method the update's validator: plain, read-only, with the same parameters. When
        it raises, the update is rejected and leaves no trace in the run's history."""
        ...


@overload
def signal[F: Callable[..., Any]](method: F, /) -> F: ...


@overload
def signal[F: Callable[..., Any]](
    *, name: str | None = None, dynamic: bool = False, unfinished: Unfinished = "wait"
) -> Callable[[F], F]: ...


def signal(
    method: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool = False,
    unfinished: Unfinished = "wait",
) -> Any:
    """Make a method take the signals of its name, each in a task of its own, in order of arrival.

    It may be ``async`` or plain. When it raises, the run fails, as a ``TaskGroup`` would.

    Args:
        name: under which it is signalled; by default the method's own name.
        dynamic: take every signal that has no handler of its own, as ``(self, name, payload)``.
        unfinished: whether a run whose code has returned waits for it, or drops it.
    """
    return _decorator(HandlerKind.SIGNAL, method, name, dynamic, unfinished)


@overload
def query[F: Callable[..., Any]](method: F, /) -> F: ...


@overload
def query[F: Callable[..., Any]](
    *, name: str | None = None, dynamic: bool = False
) -> Callable[[F], F]: ...


def query(
    method: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool = False,
) -> Any:
    """Make a plain method answer queries: at once, from what is there, without changing anything.

    Args:
        name: under which it is asked; by default the method's own name.
        dynamic: answer every query that has no handler of its own, as ``(self, name, payload)``.
    """
    return _decorator(HandlerKind.QUERY, method, name, dynamic, "wait")


@overload
def update[W, **P, R](method: Callable[Concatenate[W, P], R], /) -> UpdateMethod[W, P, R]: ...


@overload
def update[W, **P, R](
    *, name: str | None = None, dynamic: bool = False, unfinished: Unfinished = "wait"
) -> Callable[[Callable[Concatenate[W, P], R]], UpdateMethod[W, P, R]]: ...


def update(
    method: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool = False,
    unfinished: Unfinished = "wait",
) -> Any:
    """Make a method take updates: calls that change the run and whose result is waited for.

    It may be ``async`` or plain. What it returns or raises reaches the caller, and is recorded.

    Args:
        name: under which it is called; by default the method's own name.
        dynamic: take every update that has no handler of its own, as ``(self, name, payload)``.
        unfinished: whether a run whose code has returned waits for it, or drops it.
    """
    return _decorator(HandlerKind.UPDATE, method, name, dynamic, unfinished)


def _decorator(
    kind: HandlerKind,
    method: Callable[..., Any] | None,
    name: str | None,
    dynamic: bool,
    unfinished: Unfinished,
) -> Any:
    if dynamic and name is not None:
        raise DefinitionError(f"A dynamic {kind} handler answers any name: give it none.")
    if unfinished not in ("wait", "abandon"):
        raise DefinitionError(f'unfinished is either "wait" or "abandon", not {unfinished!r}.')

    def decorate(method: Any) -> Any:
        if not inspect.isfunction(method):
            raise DefinitionError(
                f"@{kind} was put on {method!r}, which is not a method. Options are given by name, "
                f'as in @{kind}(name="...").'
            )
        own_name = check_name(kind, method.__name__ if name is None else name)
        options = HandlerOptions(kind, own_name, dynamic, unfinished)
        setattr(method, _ATTRIBUTE, options)
        if kind is HandlerKind.UPDATE:
            setattr(method, "validator", _validator_decorator(options))  # noqa: B010  # functions declare none
        return method

    return decorate if method is None else decorate(method)


def _validator_decorator(options: HandlerOptions) -> Callable[[Any], Any]:
    def decorate(validator: Any) -> Any:
        if not inspect.isfunction(validator):
            raise DefinitionError(f"The validator of {options.name!r} is not a method.")
        options.validator = validator
        return validator

    return decorate
