"""Signals that a run's code sends to other runs: a name and a value, or a handler's call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loom.authoring.handlers import HandlerKind, handler_of
from loom.errors import PayloadError
from loom.given import check_id
from loom.values import value


@value(frozen=True, slots=True)
class OutgoingSignal:
    """What is sent, and the type that it is written as."""

    name: str
    payload: Any
    declared: Any = Any


def outgoing_signal(
    target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], cls: type | None = None
) -> OutgoingSignal:
    """A signal as its sender gives it, to a workflow of a class that may be known.

    Raises ``PayloadError`` when the arguments do not fit the handler, and ``DefinitionError`` when
    the method is none, or one of another workflow.
    """
    if isinstance(target, str) or not callable(target):
        return OutgoingSignal(check_id("signal name", target), _payload(args, kwargs))
    handler = handler_of(target, HandlerKind.SIGNAL, cls)
    given = handler.parameters.pack(handler.parameters.bind(args, kwargs))
    return OutgoingSignal(handler.name, given, handler.payload_type)


def _payload(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    given = (*args, *kwargs.values())
    if len(given) > 1 or not kwargs.keys() <= {"payload"}:
        raise PayloadError("A signal that is sent by name takes one payload, and nothing else.")
    return given[0] if given else None
