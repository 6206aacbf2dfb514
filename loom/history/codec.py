"""Events as rows and back: JSON attributes, the user's payload beside them, a schema version."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from enum import Enum
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Final, cast, get_args, get_origin, get_type_hints

from pydantic_core import from_json, to_json

from loom.errors import HistoryError
from loom.history import events
from loom.history.fields import Check, check_of
from loom.history.upcasters import UPCASTERS, Upcaster


def encode_attributes(event: events.Event) -> bytes:
    """Everything of an event except its payload, as JSON."""
    return to_json(_TO_PLAIN[type(event)](event))


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
        fields = from_json(attributes)
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


# --- fields --------------------------------------------------------------------------------------

# A field holds a plain value, an enumeration, a dataclass of such fields, or a tuple of any.


def _writer(cls: type[Any]) -> Callable[[Any], dict[str, Any]]:
    """How an object becomes plain values. What has its default is left out."""
    fields = [field for field in dataclasses.fields(cls) if field.name != "payload"]
    defaults = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
    required = [field.name for field in fields if field.name not in defaults]
    optional_of = _values_of([*defaults])
    usual = tuple(defaults.values())
    special = {f.name: made for f in fields if (made := _field_writer(cls, f.name)) is not None}

    def write(event: Any) -> dict[str, Any]:
        plain = {name: getattr(event, name) for name in required}
        optional = optional_of(event)
        if optional != usual:
            both = zip(defaults.items(), optional, strict=True)
            plain |= {name: value for (name, default), value in both if value != default}
        for name, write_field in special.items():
            if plain.get(name) is not None:
                plain[name] = write_field(plain[name])
        return plain

    return write


def _values_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    if not names:
        return lambda event: ()
    only = attrgetter(*names)
    return lambda event: (only(event),)


def _field_writer(cls: type[Any], name: str) -> Callable[[Any], Any] | None:
    """What makes plain values of a field, where it does not hold one."""
    if dataclasses.is_dataclass(_type_of(cls, name)):
        return dataclasses.asdict
    if _item_type(cls, name) is not None:
        return lambda items: [dataclasses.asdict(item) for item in items]
    return None


def _readers(cls: type[Any]) -> dict[str, Callable[[Any], Any]]:
    """What makes a field's value of a plain one, for those fields where they differ."""
    readers = {}
    for field in dataclasses.fields(cls):
        item = _item_type(cls, field.name)
        read = _reader(_type_of(cls, field.name)) if item is None else _tuple_reader(item)
        if read is not None:
            readers[field.name] = _or_none(read) if field.default is None else read
    return readers


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda plain: None if plain is None else read(plain)


def _reader(kind: Any) -> Callable[[Any], Any] | None:
    if dataclasses.is_dataclass(kind):
        return lambda plain: _from_fields(cast(type, kind), plain)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    return tuple if kind is tuple else None


def _tuple_reader(item: type[Any]) -> Callable[[Any], Any]:
    return lambda plain: tuple(_from_fields(item, fields) for fields in plain)


def _item_type(cls: type[Any], name: str) -> type[Any] | None:
    """What a field is a tuple of, when that is a dataclass."""
    hint = get_type_hints(cls)[name]
    if get_origin(hint) is tuple and dataclasses.is_dataclass(item := get_args(hint)[0]):
        return cast(type[Any], item)
    return None


def _type_of(cls: type[Any], name: str) -> Any:
    """A field's type without its arguments, and without ``None`` where that is allowed."""
    hint = get_type_hints(cls)[name]
    options = [o for o in get_args(hint) if o is not NoneType]
    if isinstance(hint, UnionType) and len(options) == 1:
        hint = options[0]
    return get_origin(hint) or hint


def _from_fields(cls: type[Any], plain: dict[str, Any]) -> Any:
    """An object of its plain values, in whose place the fields' own are put."""
    known = _READERS.get(cls)
    if known is None:
        known = _READERS[cls] = check_of(cls), _readers(cls)
    check, readers = known
    check(plain)
    for name, read in readers.items():
        if name in plain:
            plain[name] = read(plain[name])
    return cls(**plain)


_TO_PLAIN: Final = {cls: _writer(cls) for cls in EVENT_TYPES.values()}
_READERS: Final[dict[type[Any], tuple[Check, dict[str, Callable[[Any], Any]]]]] = {}
_PAYLOADS: Final = {
    cls: field
    for cls in EVENT_TYPES.values()
    for field in dataclasses.fields(cls)
    if field.name == "payload"
}
_WITH_PAYLOAD: Final = frozenset(_PAYLOADS)
_PAYLOAD_OPTIONAL: Final = frozenset(
    cls for cls, field in _PAYLOADS.items() if field.default is None
)


def _from_plain(
    cls: type[events.Event], fields: dict[str, Any], payload: bytes | None
) -> events.Event:
    if cls in _WITH_PAYLOAD:
        if payload is None and cls not in _PAYLOAD_OPTIONAL:
            raise ValueError("its payload is missing")
        fields["payload"] = payload
    event: events.Event = _from_fields(cls, fields)
    return event
