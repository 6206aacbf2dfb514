"""The boundaries that data comes in by, each with what makes an input for it and hands it over.

A target is called with the ``Random`` of one input. It lets through what it refused, as a
``LoomError`` of the kind that the boundary promises, and may assert what must hold of what it took.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel

from loom.errors import (
    ConfigurationError,
    HistoryError,
    LoomError,
    PayloadError,
)
from loom.filters import run_filter
from loom.given import check_id
from loom.history.codec import decode_event, encode_attributes
from loom.history.export import RunHistory
from loom.history.payloads import PayloadCodec, PayloadConverter
from loom.history.tags import decode_tag, encode_tags
from loom.identifiers import MAX_ID_LENGTH
from loom.runner.imports import imported_run
from loom.runner.task_tokens import TaskToken
from loom.settings import Settings
from loom.storage.sql.dsn import PostgresDsn, parse_dsn
from tests.fuzz import material
from tests.fuzz.histories import EVENTS, HISTORIES

type Feed = Callable[[Random], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A boundary."""

    name: str
    feed: Feed
    refusals: tuple[type[LoomError], ...]
    share: int = 1
    """How many of a hundred inputs go there."""


# --- payloads ------------------------------------------------------------------------------------


@dataclass
class Order:
    id: str
    lines: list[dict[str, int]]


class Account(BaseModel):
    owner: str
    balance: Decimal
    opened: datetime | None = None


class Zlib(PayloadCodec):
    name = "zlib"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


CONVERTER: Final = PayloadConverter([Zlib()])
PLAIN: Final = PayloadConverter()
DECLARED: Final[tuple[Any, ...]] = (
    *(Any, Any, Any, int, str, float, bool, bytes, list[int], dict[str, Any], tuple[int, str]),
    *(set[str], Decimal, datetime, timedelta, UUID, Literal["a", "b"], int | None),
    *(Order, list[Order], Account, dict[str, Account], object),
)
SOUND: Final = [
    converter.encode(value)
    for converter in (CONVERTER, PLAIN)
    for value in (1, "text", [1, {"a": None}], b"bytes", Decimal("1.50"), {1, 2}, timedelta(1))
] + [
    PLAIN.encode(Order("A-1", [{"milk": 2}]), Order),
    PLAIN.encode(Account(owner="ada", balance=Decimal("0.1")), Account),
]


def read_payload(chance: Random) -> None:
    kind = chance.random()
    if kind < 0.5:
        data = material.damaged(chance, chance.choice(SOUND))
    elif kind < 0.9:
        data = material.json_text(chance).encode("utf-8", "surrogatepass")
    else:
        data = chance.randbytes(chance.randrange(64))
    if chance.random() < 0.1:
        wrapped = base64.b64encode(chance.choice((data, zlib.compress(data)))).decode()
        data = json.dumps({"codec": "zlib", "data": wrapped}).encode()
    CONVERTER.decode(data, chance.choice(DECLARED))


def write_payload(chance: Random) -> None:
    value, declared = material.value(chance), chance.choice(DECLARED)
    stored = PLAIN.encode(value, declared)
    # What was taken can be read: a refusal now would be a run that is stuck for good.
    try:
        PLAIN.decode(stored, declared)
    except PayloadError as error:
        raise AssertionError(f"it was stored, and cannot be read: {error}") from error


# --- histories -----------------------------------------------------------------------------------


def read_event(chance: Random) -> None:
    type_, version, attributes, payload = chance.choice(EVENTS)
    kind = chance.random()
    if kind < 0.5:
        plain = material.damaged_plain(chance, json.loads(attributes))
        attributes = json.dumps(plain).encode("utf-8", "surrogatepass")
    elif kind < 0.8:
        attributes = material.damaged(chance, attributes)
    elif kind < 0.9:
        attributes = material.json_text(chance).encode("utf-8", "surrogatepass")
    elif kind < 0.95:
        version = chance.choice((0, -1, 2, 3, 10**9))
    else:
        type_ = chance.choice((material.text(chance), chance.choice(EVENTS)[0]))
    if payload is not None and chance.random() < 0.1:
        payload = chance.choice((None, b"", material.damaged(chance, payload)))
    event = decode_event(type_, version, attributes, payload)
    hash(encode_attributes(event))


def read_history(chance: Random) -> None:
    """An export is read, comes back the same, and is made a run as it would be written."""
    history = RunHistory.from_json(damaged_export(chance))
    assert RunHistory.from_json(history.to_json()) == history
    assert RunHistory.from_dict(json.loads(history.to_json_line())) == history
    now, stays_open = 1_800_000_000_000_000, chance.random() < 0.5
    new = imported_run(history, history.workflow_id, now=now, stays_open=stays_open)
    for number in (new.effects.wake_at, new.deadline, *(e.recorded_at for e in new.effects.events)):
        assert number is None or -(2**63) <= number < 2**63, "no store holds that number"
    for task in new.effects.tasks:
        assert isinstance(task.name, str)
        assert 0 <= task.available_at < 2**63


def damaged_export(chance: Random) -> str | bytes:
    """An exported history, as somebody may have left it."""
    sound = chance.choice(HISTORIES)
    kind = chance.random()
    if kind < 0.8:
        plain = material.damaged_plain(chance, sound.to_dict())
        return json.dumps(plain)
    if kind < 0.95:
        return material.damaged(chance, sound.to_json().encode())
    return material.json_text(chance)


# --- names and questions -------------------------------------------------------------------------


def check_ids(chance: Random) -> None:
    given = material.text(chance) if chance.random() < 0.9 else material.value(chance)
    checked = check_id("workflow id", given)
    assert 0 < len(checked) <= MAX_ID_LENGTH
    assert "\0" not in checked
    checked.encode()


def check_tags(chance: Random) -> None:
    given = {material.text(chance): _tag(chance) for _ in range(chance.randrange(1, 4))}
    for name, stored in encode_tags(given).items():
        assert "\0" not in name + stored
        (name + stored).encode()
        assert decode_tag(stored) == given[name]


def _tag(chance: Random) -> Any:
    kind = chance.random()
    if kind < 0.3:
        return material.text(chance)
    return material.number(chance) if kind < 0.7 else material.value(chance)


FILTERS: Final = (
    *("status", "open", "name", "version", "id", "id_prefix", "tags"),
    *("started_after", "started_before", "closed_after", "closed_before"),
)


def make_filter(chance: Random) -> None:
    given = {
        name: {material.text(chance): _tag(chance)} if name == "tags" else material.value(chance)
        for name in chance.sample(FILTERS, chance.randrange(1, 4))
    }
    run_filter(**given)


def read_token(chance: Random) -> None:
    sound = TaskToken("order-1", "0" * 32, 3, 7, 1, 10**15, None)
    kind = chance.random()
    if kind < 0.4:
        given: Any = material.damaged(chance, str(sound).encode()).decode("latin-1")
    elif kind < 0.8:
        inner = base64.urlsafe_b64decode(str(sound) + "=" * (-len(str(sound)) % 4))
        changed = json.dumps(material.damaged_plain(chance, json.loads(inner)))
        given = base64.urlsafe_b64encode(changed.encode()).decode().rstrip("=")
    else:
        given = material.value(chance)
    token = TaskToken.read(given)
    assert TaskToken.read(str(token)) == token


# --- settings and DSNs ---------------------------------------------------------------------------


def load_settings(chance: Random) -> None:
    sound = {name: field.default for name, field in Settings.model_fields.items()}
    given = {chance.choice([*sound, "nonsense"]): material.value(chance) for _ in range(2)}
    # Half of them as they may be, else hardly any would be taken.
    if chance.random() < 0.5:
        given = {name: sound[name] for name in given if name in sound}
    Settings.load(**given)


DSNS: Final = (
    *("sqlite:///workflows.db", "sqlite:////var/lib/loom.db?busy_timeout=5", "memory://name"),
    *("postgresql://ada:secret@host:5432/name?sslmode=require", "postgres://[::1]/name"),
    *("postgresql+asyncpg://a,b:1/name?allow_unsafe_fsync=1", "sqlite+aiosqlite:///x"),
)


def read_dsn(chance: Random) -> None:
    sound = chance.choice(DSNS)
    at = chance.randrange(len(sound) + 1)
    given = sound[:at] + material.text(chance) + sound[at + chance.choice((0, 0, 1, 5)) :]
    parsed = parse_dsn(given)
    assert isinstance(str(parsed), str)
    if isinstance(parsed, PostgresDsn):
        assert isinstance(parsed.driver_dsn, str)
        assert "secret" not in repr(parsed) or "secret" in (parsed.user or "")


PURE: Final = (
    Target("payload", read_payload, (PayloadError,), 26),
    Target("value", write_payload, (PayloadError,), 12),
    Target("event", read_event, (HistoryError,), 20),
    Target("history", read_history, (HistoryError, PayloadError), 12),
    Target("id", check_ids, (PayloadError,), 8),
    Target("tag", check_tags, (PayloadError,), 6),
    Target("filter", make_filter, (ConfigurationError, PayloadError), 5),
    Target("token", read_token, (PayloadError,), 5),
    Target("dsn", read_dsn, (ConfigurationError,), 4),
    Target("settings", load_settings, (ConfigurationError,), 1),
)
