"""The users' own values as bytes: readable JSON with a type tag, and a chain of codecs in front.

A payload is a JSON pair, ``["app.Order", {"id": "A-1"}]``: the name of the type that it was
written as, and the value. The tag tells people and tools what they look at, and brings simple types
such as ``datetime`` back where no type was declared. It never imports or calls anything.

Each codec wraps the bytes in ``{"codec": "name", "data": "<base64>"}``.
"""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AllowInfNan, ConfigDict, TypeAdapter
from pydantic_core import from_json

from loom.errors import CodecError, ConfigurationError, PayloadError, StopReplay
from loom.given import shown
from loom.history.failures import type_name

_PASSING: Final = (StopReplay, KeyboardInterrupt)
"""What is none of a payload's business. Whatever else is raised there, such as the panic of an
extension or a `sys.exit()`, is a failure of the user's code like any other."""


class PayloadCodec(ABC):
    """A reversible change of bytes, such as compression or encryption."""

    name: str

    @abstractmethod
    def encode(self, data: bytes) -> bytes:
        """Transform what is to be stored."""

    @abstractmethod
    def decode(self, data: bytes) -> bytes:
        """Undo ``encode``; raise any exception for bytes that it did not make."""


class PayloadConverter:
    """Turns values into payloads and back, by the types that the user declared."""

    def __init__(self, codecs: Sequence[PayloadCodec] = ()) -> None:
        self.codecs = _checked(codecs)
        self._by_name = {codec.name: codec for codec in self.codecs}

    def encode(
        self, value: object, declared: Any = Any, what: str = "A value", of: str = ""
    ) -> bytes:
        """Validate a value against its declared type and write it down.

        ``what`` it is, and ``of`` what by its name, are told when it fails.

        Raises ``PayloadError`` when it does not fit, or cannot be written as JSON, and
        ``CodecError`` when a codec fails.
        """
        try:
            form = _form(declared)
            tag = type_name(type(value)) if declared is Any else form.tag
            pair = form.validate((tag, value))
            data = form.write(pair)
            if len(data) >= _READER_LIMITS:
                from_json(data)
        except _PASSING:
            raise
        except BaseException as error:
            raise PayloadError(_explain("cannot be stored", declared, error, what, of)) from error
        return self.wrap(data)

    def wrap(self, data: bytes) -> bytes:
        """A JSON pair with every codec applied; ``unwrap`` undoes it. Raises ``CodecError``."""
        for codec in self.codecs:
            try:
                data = _wrap(codec, data)
            except _PASSING:
                raise
            except BaseException as error:
                raise CodecError(
                    f"The codec {codec.name!r} cannot encode a payload: {error}"
                ) from error
        return data

    def decode(self, data: bytes, declared: Any = Any, what: str = "A value", of: str = "") -> Any:
        """Read a payload as its declared type; ``Any`` gives plain JSON values.

        Raises ``PayloadError`` when the bytes are not a payload, or do not fit the type, and
        ``CodecError`` when a codec is missing or fails.
        """
        data = self.unwrap(data)
        try:
            # By alias too: whoever sent it as a plain value wrote it as the model wants it.
            tag, value = _form(declared).read(data, by_alias=True, by_name=True)
            if declared is Any and tag in _PLAIN:
                value = _form(_PLAIN[tag]).read(data)[1]
        except _PASSING:
            raise
        except BaseException as error:
            raise PayloadError(_explain("cannot be read", declared, error, what, of)) from error
        return value

    def unwrap(self, data: bytes) -> bytes:
        """The JSON pair itself, with every codec undone."""
        while data[:1] == b"{":
            data = self._unwrap_once(data)
        return data

    def _unwrap_once(self, data: bytes) -> bytes:
        try:
            envelope = json.loads(data)
            name, inner = str(envelope["codec"]), base64.b64decode(envelope["data"], validate=True)
        except Exception as error:
            raise CodecError("A stored payload is damaged: no codec envelope.") from error
        codec = self._by_name.get(name)
        if codec is None:
            raise CodecError(
                f"A stored payload needs the codec {name!r}, which this application does not have."
            )
        try:
            return codec.decode(inner)
        except _PASSING:
            raise
        except BaseException as error:
            raise CodecError(f"The codec {name!r} cannot decode a stored payload.") from error


def _checked(codecs: object) -> tuple[PayloadCodec, ...]:
    """Raises ``ConfigurationError`` for what are no codecs."""
    several = tuple(codecs) if isinstance(codecs, Iterable) else (codecs,)
    wrong = [each for each in several if not isinstance(each, PayloadCodec)]
    if wrong or not isinstance(codecs, Iterable):
        raise ConfigurationError(
            f"codecs={shown(codecs)} must be a list of objects whose classes derive from "
            "loom.PayloadCodec."
        )
    return several


# NaN and infinities survive as constants and bytes as base64; pydantic's defaults lose both.
# Dataclasses are validated again, since making one validates nothing.
_CONFIG: Final = ConfigDict(
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_inf_nan="constants",
    revalidate_instances="always",
    arbitrary_types_allowed=False,
)

# JSON can be written deeper, and with longer numbers, than it can be read. Neither fits into less.
_READER_LIMITS: Final = 400

ARGUMENTS: Final = "The arguments"
"""What a value of several is called, to begin with."""

_PLAIN: Final[dict[str, Any]] = {
    **{type_name(t): t for t in (datetime, date, time, timedelta, UUID, bytes)},
    **{type_name(t): t for t in (set, frozenset, tuple)},
    type_name(Decimal): Annotated[Decimal, AllowInfNan(True)],
}


class _Form:
    """How the payloads of one declared type are written and read."""

    __slots__ = ("read", "tag", "validate", "write")

    def __init__(self, declared: Any) -> None:
        # The tuple is the payload itself, and lets the configuration reach dataclasses and
        # TypedDicts, which refuse one of their own from outside.
        adapter = TypeAdapter[tuple[str, Any]](tuple[str, declared], config=_CONFIG)
        self.tag = _tag(declared)
        self.validate = adapter.validator.validate_python
        # By the fields' own names: a model may have one alias to read by, another to write by.
        self.write: Callable[[Any], bytes] = partial(
            adapter.serializer.to_json,
            by_alias=False,
            # Naming the mode costs more than all the rest of writing a small value.
            warnings=False if _is_plain(adapter.core_schema) else "error",
        )
        self.read = adapter.validator.validate_json


# What is of these types once it has been validated is what its serializer expects.
_PLAIN_SCHEMAS: Final = frozenset(
    {
        *("none", "bool", "int", "float", "str", "bytes"),
        *("nullable", "list", "tuple", "dict", "typed-dict", "typed-dict-field"),
    }
)


def _is_plain(schema: Any) -> bool:
    """Whether there is nothing that a serializer could warn of, nor code of the user's."""
    if isinstance(schema, list | tuple):
        return all(map(_is_plain, schema))
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type", "none") not in _PLAIN_SCHEMAS or "serialization" in schema:
        return False
    if schema.get("extra_behavior") == "allow":
        return False
    return all(map(_is_plain, schema.values()))


_cached_form = lru_cache(maxsize=4096)(_Form)


def _form(declared: Any) -> _Form:
    try:
        return _cached_form(declared)
    except TypeError:  # an unhashable annotation
        return _Form(declared)


def _tag(declared: Any) -> str:
    return type_name(declared) if isinstance(declared, type) else str(declared)


def _wrap(codec: PayloadCodec, data: bytes) -> bytes:
    encoded = base64.b64encode(codec.encode(data)).decode("ascii")
    return json.dumps({"codec": codec.name, "data": encoded}).encode()


def _explain(problem: str, declared: Any, error: BaseException, what: str, of: str) -> str:
    whose = f"{what} {of!r}" if of else what
    # Of arguments it is the name of a type that we have made up; the reasons name each of them.
    type_of = "" if what.startswith(ARGUMENTS) else f" declared as {_tag(declared)}"
    reasons = _reasons(error)
    hint = " Is an `await` missing?" if "coroutine" in reasons else ""
    return f"{whose}{type_of} {problem}: {reasons}{hint}"


def _reasons(error: BaseException) -> str:
    """Pydantic's reasons in one line each, without its links and without our own wrapping."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    lines = []
    for item in errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"][1:])
        lines.append(f"{place + ': ' if place else ''}{item['msg']} (got {shown(item['input'])})")
    return "; ".join(lines)
