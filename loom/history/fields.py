"""What the fields of a stored event may hold: damage is found where it is read, not turns later."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum
from types import UnionType
from typing import Any, Final, TypeAliasType, get_args, get_origin, get_type_hints

_LARGEST: Final = 1 << 63
"""What is beyond 64 bits is held by no store."""

type Check = Callable[[Mapping[str, Any]], None]


def check_of(cls: type[Any]) -> Check:
    """What raises ``TypeError`` or ``ValueError`` for plain values that a class's fields cannot be
    made of, and ``KeyError`` for a field that it does not have."""
    hints = get_type_hints(cls)
    annotated = {field.name: _options(hints[field.name]) for field in dataclasses.fields(cls)}
    kinds = {name: frozenset(map(_plain_kind, options)) for name, options in annotated.items()}
    items = {n: found for n, options in annotated.items() if (found := _item_kinds(options))}

    def check(fields: Mapping[str, Any]) -> None:
        for name, value in fields.items():
            kind = type(value)
            if kind not in kinds[name]:
                raise TypeError(f"{name} is a {kind.__name__}")
            if kind is int and not -_LARGEST <= value < _LARGEST:
                raise ValueError(f"{name} is too large")
            if name in items and value is not None:
                _check_items(name, value, items[name])

    return check


def _check_items(name: str, value: Any, kinds: frozenset[type]) -> None:
    for item in value.values() if isinstance(value, dict) else value:
        if type(item) not in kinds:
            raise TypeError(f"{name} holds a {type(item).__name__}")


def _options(hint: Any) -> tuple[Any, ...]:
    """The types that a field may have, of ``int | None`` both."""
    if isinstance(hint, TypeAliasType):
        return _options(hint.__value__)
    if isinstance(hint, UnionType):
        return tuple(option for one in get_args(hint) for option in _options(one))
    # A whole number is written without a point.
    return (float, int) if hint is float else (hint,)


def _plain_kind(hint: Any) -> type:
    """The type that JSON has in place of a field's."""
    kind: Any = get_origin(hint) or hint
    if kind is tuple:
        return list
    if dataclasses.is_dataclass(kind):
        return dict
    return str if issubclass(kind, Enum) else kind


def _item_kinds(options: tuple[Any, ...]) -> frozenset[type]:
    """What a tuple's items or a dict's values may be."""
    for hint in options:
        arguments = get_args(hint)
        if get_origin(hint) is tuple:
            return frozenset(map(_plain_kind, _options(arguments[0])))
        if get_origin(hint) is dict:
            return frozenset(map(_plain_kind, _options(arguments[1])))
    return frozenset()
