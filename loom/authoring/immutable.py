"""Containers that refuse to change, for a workflow's input.

Changing the input would work until the first replay, and then silently not: better to refuse.
"""

from __future__ import annotations

import copy
from typing import Any, NoReturn


def frozen(value: Any) -> Any:
    """The value with every ``dict`` and ``list`` in it replaced by one that refuses to change."""
    if type(value) is dict:
        return FrozenDict((key, frozen(item)) for key, item in value.items())
    if type(value) is list:
        return FrozenList(map(frozen, value))
    if type(value) is tuple:
        return tuple(map(frozen, value))
    return value


def fixed(value: Any) -> Any:
    """The value itself if it cannot change, else a copy of it."""
    if isinstance(value, FrozenDict | FrozenList):
        return value
    return private_copy(value)


def private_copy(value: Any) -> Any:
    """A copy whose changes stay with whoever made them."""
    if value is None or type(value) in _ATOMIC:
        return value
    return copy.deepcopy(value)


_ATOMIC = frozenset({str, int, float, bool, bytes})


def _refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
    raise TypeError("A workflow's input cannot be changed. Keep what changes in ctx.state.")


class FrozenDict(dict[Any, Any]):
    """A ``dict`` that refuses to change."""

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[Any, Any]:
        return {key: copy.deepcopy(value, memo) for key, value in self.items()}


def _refuse_tag(self: object, *args: object, **kwargs: object) -> NoReturn:
    raise TypeError(
        "ctx.tags says what the tags are now, and cannot be changed. Call "
        "ctx.set_tags({name: value}), where None takes a tag away."
    )


class Tags(FrozenDict):
    """A run's tags, as its code reads them."""

    __setitem__ = __delitem__ = __ior__ = _refuse_tag
    clear = pop = popitem = setdefault = update = _refuse_tag


class FrozenList(list[Any]):
    """A ``list`` that refuses to change."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [copy.deepcopy(value, memo) for value in self]
