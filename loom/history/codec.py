"""Events as rows and back: JSON attributes, the user's payload beside them, a schema version."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, Final

from loom.errors import HistoryError
from loom.history import events
from loom.history.failures import Failure, FailureKind
from loom.history.upcasters import UPCASTERS, Upcaster

_encode_json: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def encode_attributes(event: events.Event) -> bytes:
    """Everything of an event except its payload, as JSON."""
    return _encode_json(_TO_PLAIN[type(event)](event)).encode()


def decode_event(
    type_: str,
    schema_version: int,
    attributes: bytes,
    payload: bytes | None,
    upcasters: dict[tuple[str, int], Upcaster] = UPCASTERS,
) -> events.Event:
    """Read an event back, bringing one from an older schema up to date.

    Raises ``HistoryError`` when its type or schema is unknown, or its attributes are damaged.
    """
    cls = EVENT_TYPES.get(type_)
    if cls is None:
        raise HistoryError(
            f"The history holds an event of the unknown type {type_!r}: it was written by a newer "
            "version of Loom. Upgrade Loom on this worker."
        )
    if schema_version > cls.schema_version:
        raise HistoryError(
            f"The history holds {type_} in schema {schema_version}, and this version of Loom knows "
            f"schemas up to {cls.schema_version}. Upgrade Loom on this worker."
        )
    try:
        fields = json.loads(attributes)
        for version in range(schema_version, cls.schema_version):
            fields = upcasters[type_, version](fields)
        return _from_plain(cls, fields, payload)
    except Exception as error:
        raise HistoryError(f"A stored {type_} event is damaged: {error!r}.") from error


def plain_attributes(event: events.Event) -> dict[str, Any]:
    """Everything of an event except its payload, as plain JSON values."""
    return _TO_PLAIN[type(event)](event)


def _all_types(base: type[events.Event]) -> dict[str, type[events.Event]]:
    found = {}
    for cls in base.__subclasses__():
        if "type" in cls.__dict__:
            found[cls.type] = cls
        found.update(_all_types(cls))
    return found


EVENT_TYPES: Final = _all_types(events.Event)
"""Every event type by its name in the store."""


def _writer(cls: type[events.Event]) -> Callable[[Any], dict[str, Any]]:
    names = [f.name for f in dataclasses.fields(cls) if f.name != "payload"]
    if "failure" in names:
        return lambda event: {
            n: dataclasses.asdict(event.failure) if n == "failure" else getattr(event, n)
            for n in names
        }
    return lambda event: {n: getattr(event, n) for n in names}


_TO_PLAIN: Final = {cls: _writer(cls) for cls in EVENT_TYPES.values()}
_FIELDS: Final = {
    cls: frozenset(f.name for f in dataclasses.fields(cls)) for cls in EVENT_TYPES.values()
}


def _from_plain(
    cls: type[events.Event], fields: dict[str, Any], payload: bytes | None
) -> events.Event:
    if "failure" in fields:
        failure = fields["failure"]
        fields["failure"] = Failure(**{**failure, "kind": FailureKind(failure["kind"])})
    if "removed" in fields:
        fields["removed"] = tuple(fields["removed"])
    if "payload" in _FIELDS[cls]:
        if payload is None:
            raise ValueError("its payload is missing")
        return cls(**fields, payload=payload)  # type: ignore[call-arg]
    return cls(**fields)
