"""Signals, queries and updates as they are sent: a name and a payload."""

from __future__ import annotations

from typing import Any

from loom.access import Call
from loom.authoring.compiled import CompiledWorkflow
from loom.authoring.handlers import HandlerDefinition, HandlerKind, handler_of
from loom.errors import PayloadError
from loom.given import check_id
from loom.history.payloads import PayloadConverter
from loom.values import value


@value(frozen=True, slots=True)
class EncodedCall:
    """What is sent, and what its answer is read as."""

    name: str
    payload: bytes
    result_type: Any = Any


def encoded_call(
    kind: HandlerKind, call: Call, code: CompiledWorkflow | None, converter: PayloadConverter
) -> EncodedCall:
    """A call of a handler, checked as far as the handler is known here.

    Raises ``PayloadError`` when the arguments do not fit it, and ``DefinitionError`` when the
    method is no such handler, or one of another workflow.
    """
    if isinstance(call.target, str):
        name = check_id(f"{kind} name", call.target)
        handler = code.handlers.find(kind, name) if code is not None else None
        return _encoded(kind, name, call.payload, handler, converter)
    handler = handler_of(call.target, kind, None if code is None else code.cls)
    if "request_id" in call.kwargs and "request_id" not in handler.parameters.names:
        raise PayloadError(_no_request_id(kind, call.target))
    value = handler.parameters.pack(handler.parameters.bind(call.args, call.kwargs))
    return _encoded(kind, handler.name, value, handler, converter)


def _no_request_id(kind: HandlerKind, method: object) -> str:
    name = getattr(method, "__qualname__", "method")
    if kind is HandlerKind.QUERY:
        return f"The query {name} takes no request_id: nothing is sent that could come twice."
    return (
        f"The {kind} {name} has no parameter request_id. With a method, the id is given before: "
        f"handle.with_request_id(...).{kind}({name}, ...)."
    )


def _encoded(
    kind: HandlerKind,
    name: str,
    value: Any,
    handler: HandlerDefinition | None,
    converter: PayloadConverter,
) -> EncodedCall:
    what = f"The payload of {kind}"
    if handler is None:
        return EncodedCall(name, converter.encode(value, Any, what, name))
    payload = converter.encode(value, handler.payload_type, what, name)
    return EncodedCall(name, payload, handler.result_type)
