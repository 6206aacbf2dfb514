"""A run's history as JSON, apart from any database: the format ``loom.history``, version 1.

An object with the run's ``workflow_id``, ``run_id``, ``name``, ``version``, ``queue`` and
``status``, and its ``events`` in order. Each event has its ``sequence``, ``type``,
``schema_version``, ``recorded_at`` (ISO 8601, UTC, to the microsecond), ``attributes`` (an object)
and, where it has them, ``payload`` and ``message_id``.

Nothing is lost: what is stored comes back to the last byte. A payload is written as the JSON that
it is, so that people can read it; one that is not, as when a codec has encrypted it, or that would
not come back the same, is written as ``payload_base64``. The same holds for damaged attributes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from loom.errors import HistoryFormatError
from loom.history.records import EventRecord
from loom.history.status import RunStatus
from loom.identifiers import Micros, RunId, WorkflowId

FORMAT: Final = "loom.history"
FORMAT_VERSION: Final = 1

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_TEXTS: Final = ("workflow_id", "run_id", "name", "version", "queue")
_RUN_FIELDS: Final = frozenset({"format", "format_version", *_TEXTS, "status", "events"})
_EVENT_FIELDS: Final = frozenset(
    {"sequence", "type", "schema_version", "recorded_at", "attributes", "attributes_base64"}
    | {"payload", "payload_base64", "message_id"}
)

# Strict JSON, without NaN, as the bytes are stored.
_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class RunHistory:
    """A run and all that happened to it, apart from the database that it came from."""

    workflow_id: WorkflowId
    run_id: RunId
    name: str
    version: str
    queue: str
    status: RunStatus
    events: tuple[EventRecord, ...]

    def to_dict(self) -> dict[str, Any]:
        """The history as plain JSON values."""
        return {**self._heading(), "events": [_plain(event) for event in self.events]}

    def to_json(self) -> str:
        """The history as text for people and for version control: an event a line."""
        heading = "".join(f"  {_dump(k)}: {_dump(v)},\n" for k, v in self._heading().items())
        events = ",\n".join(f"    {_dump(_plain(event))}" for event in self.events)
        return f'{{\n{heading}  "events": [\n{events}\n  ]\n}}\n'

    def to_json_line(self) -> str:
        """The history in one line, so that many can share a file."""
        return _dump(self.to_dict()) + "\n"

    @classmethod
    def from_dict(cls, document: object) -> RunHistory:
        """Raises ``HistoryFormatError``, which says what is wrong and where."""
        return _read(document)

    @classmethod
    def from_json(cls, text: str | bytes) -> RunHistory:
        """Raises ``HistoryFormatError``, which says what is wrong and where."""
        try:
            return _read(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise HistoryFormatError(f"This is no exported history: not JSON: {error}.") from error

    def _heading(self) -> dict[str, Any]:
        texts = {name: getattr(self, name) for name in _TEXTS}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **texts,
            "status": self.status.value,
        }


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


# --- writing -------------------------------------------------------------------------------------


def _plain(event: EventRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "sequence": event.sequence,
        "type": event.type,
        "schema_version": event.schema_version,
        "recorded_at": _moment(event.recorded_at),
        **_bytes("attributes", event.attributes, only=dict),
    }
    if event.payload is not None:
        row |= _bytes("payload", event.payload)
    if event.message_id is not None:
        row["message_id"] = event.message_id
    return row


def _bytes(name: str, data: bytes, only: type = object) -> dict[str, Any]:
    """As the JSON that they are, if exactly these bytes come back of it."""
    try:
        value = json.loads(data)
        if isinstance(value, only) and _encode(value).encode() == data:
            return {name: value}
    except (ValueError, RecursionError):
        pass
    return {f"{name}_base64": base64.b64encode(data).decode("ascii")}


def _moment(micros: Micros) -> str | int:
    try:
        moment = _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return micros
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


# --- reading -------------------------------------------------------------------------------------


def _read(document: object) -> RunHistory:
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise HistoryFormatError(
            f'This is no exported history: it is no JSON object with "format": "{FORMAT}".'
        )
    if document.get("format_version") != FORMAT_VERSION:
        raise HistoryFormatError(
            f"This history is in version {document.get('format_version')!r} of the format, and "
            f"this version of Loom reads version {FORMAT_VERSION}."
        )
    row = _Row("The history", document, _RUN_FIELDS)
    events = row.get("events", list)
    return RunHistory(
        **{name: row.get(name, str) for name in _TEXTS},
        status=row.status(),
        events=tuple(_event(number, item) for number, item in enumerate(events, start=1)),
    )


def _event(number: int, item: object) -> EventRecord:
    row = _Row(f"Event {number}", item, _EVENT_FIELDS)
    sequence = row.get("sequence", int)
    if sequence != number:
        raise row.problem(f"has the sequence {sequence}: events are numbered from 1, without gaps")
    attributes = row.stored("attributes", only=dict)
    if attributes is None:
        raise row.problem("has no 'attributes'")
    return EventRecord(
        sequence=sequence,
        type=row.get("type", str),
        schema_version=row.get("schema_version", int),
        recorded_at=row.moment("recorded_at"),
        attributes=attributes,
        payload=row.stored("payload"),
        message_id=row.get("message_id", str) if row.has("message_id") else None,
    )


class _Row:
    """A JSON object whose fields are read one by one, with errors that say where."""

    def __init__(self, where: str, fields: object, known: frozenset[str]) -> None:
        self._where = where
        if not isinstance(fields, Mapping):
            raise self.problem("is no JSON object")
        self._fields = fields
        unknown = sorted(map(str, fields.keys() - known))
        if unknown:
            raise self.problem(f"has the unknown field {unknown[0]!r}")

    def problem(self, what: str) -> HistoryFormatError:
        return HistoryFormatError(f"This exported history is damaged. {self._where} {what}.")

    def has(self, name: str) -> bool:
        return name in self._fields

    def get[T](self, name: str, kind: type[T]) -> T:
        if name not in self._fields:
            raise self.problem(f"has no {name!r}")
        value = self._fields[name]
        # A bool is an int to Python, and none to a reader.
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.problem(f"has {name!r}: {_shown(value)}, which is no {_NAMES[kind]}")
        return value

    def status(self) -> RunStatus:
        written = self.get("status", str)
        try:
            return RunStatus(written)
        except ValueError:
            raise self.problem(f"has the unknown status {written!r}") from None

    def moment(self, name: str) -> Micros:
        written = self._fields.get(name)
        if isinstance(written, int) and not isinstance(written, bool):
            return written
        text = self.get(name, str)
        try:
            return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
        except (ValueError, TypeError):
            raise self.problem(
                f"has {name!r}: {text!r}, which is no ISO 8601 time with a zone"
            ) from None

    def stored(self, name: str, only: type = object) -> bytes | None:
        encoded_name = f"{name}_base64"
        if self.has(name) and self.has(encoded_name):
            raise self.problem(f"has both {name!r} and {encoded_name!r}")
        if self.has(encoded_name):
            return self._decoded(encoded_name)
        if not self.has(name):
            return None
        try:
            return _encode(self.get(name, only) if only is dict else self._fields[name]).encode()
        except (ValueError, TypeError, RecursionError) as error:
            raise self.problem(f"has {name!r} that is no JSON: {error}") from None

    def _decoded(self, name: str) -> bytes:
        try:
            return base64.b64decode(self.get(name, str), validate=True)
        except ValueError:
            raise self.problem(f"has {name!r} that is no base64") from None


_NAMES: Final[Mapping[type, str]] = {
    str: "text",
    int: "whole number",
    dict: "JSON object",
    list: "list",
}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
