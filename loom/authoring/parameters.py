"""The parameters of a method that is called by message: how its arguments become one payload.

Without parameters the payload is nothing; with one it is the argument itself; with several it is an
object of the arguments by their names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from types import NoneType
from typing import Any, NotRequired, TypedDict, cast, get_args

from loom.authoring.names import type_hints
from loom.errors import DefinitionError, PayloadError

type Decode = Callable[[bytes, Any], Any]
"""A payload as a value of a declared type."""


class Parameters:
    """What a method takes besides ``self``.

    Raises ``DefinitionError`` when it takes any number of arguments: which they are must be known.
    """

    def __init__(self, method: Callable[..., Any], what: str) -> None:
        self._method = method
        self._what = what
        parameters = list(inspect.signature(method).parameters.values())
        if not parameters or {parameter.kind for parameter in parameters} & _UNNAMED:
            raise DefinitionError(
                f"{what} must take self and then parameters with names, without * and **."
            )
        self._parameters = parameters[1:]
        self._signature = inspect.Signature(self._parameters)

    @property
    def names(self) -> list[str]:
        return [parameter.name for parameter in self._parameters]

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by the names of their parameters; ``PayloadError`` when they do not fit."""
        try:
            return dict(self._signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise PayloadError(f"{self._what}: {error}.") from error

    def pack(self, arguments: Mapping[str, Any]) -> Any:
        """Bound arguments as the value that is sent."""
        if not self._parameters:
            return None
        if len(self._parameters) > 1:
            return dict(arguments)
        (only,) = self._parameters
        return arguments.get(only.name, only.default)

    def read(self, payload: bytes, decode: Decode) -> dict[str, Any]:
        """What was sent as arguments by name. Raises ``PayloadError`` when it does not fit."""
        value = decode(payload, self.payload_type)
        if not self._parameters:
            return {}
        if len(self._parameters) > 1:
            return dict(value)
        (only,) = self._parameters
        is_left_out = value is None and not self._only_takes_none
        return {} if is_left_out else {only.name: value}

    def call(self, method: Callable[..., Any], owner: object, arguments: Mapping[str, Any]) -> Any:
        """Call that method, which has these parameters, with arguments by name."""
        bound = inspect.BoundArguments(self._signature, dict(arguments))
        return method(owner, *bound.args, **bound.kwargs)

    @cached_property
    def payload_type(self) -> Any:
        """What the sent value is validated and stored as."""
        if not self._parameters:
            return NoneType
        if len(self._parameters) > 1:
            return self._object_type
        (only,) = self._parameters
        hint = self._hints[only.name]
        # By name it may be sent without a value, which leaves the argument out.
        return hint if only.default is only.empty or self._only_takes_none else hint | None

    @property
    def _only_takes_none(self) -> bool:
        (only,) = self._parameters
        hint = self._hints[only.name]
        return only.default is only.empty or hint in _ANYTHING or NoneType in get_args(hint)

    @cached_property
    def _hints(self) -> dict[str, Any]:
        hints = type_hints(self._method)
        return {name: hints.get(name, Any) for name in self.names}

    @property
    def _object_type(self) -> Any:
        optional: Any = NotRequired
        fields = {
            p.name: self._hints[p.name] if p.default is p.empty else optional[self._hints[p.name]]
            for p in self._parameters
        }
        # The functional form with a computed body is what pydantic reads; mypy wants a literal.
        arguments = cast(Any, TypedDict)(self._method.__name__, fields)
        arguments.__module__ = self._method.__module__
        return arguments


_UNNAMED = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_ANYTHING = (None, NoneType, Any, object)
