"""What hostile input is made of: awkward values, and sound ones that have been damaged.

Everything is drawn from the one ``Random`` that is given, so that an input can be made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any, Final

TEXTS: Final = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800",
        "\udfff\ud800",
        "\u202e",
        "\ufeff",
        "\x1b[2J",
        "é",
        "\U0001f9f5",
    ),
    *("true", "null", "NaN", "-Infinity", "1e400", "-0", "0x10", "1_000", "٣", "9" * 400),
    *("../../etc/passwd", "file:///etc/passwd", "%s%n%x", "{0.__class__}", "${HOME}", "`id`"),
    *("'; DROP TABLE workflows; --", "\\", '"', "'", "%", "_", "*", "\r\n", "a" * 256, "é" * 255),
    *("builtins.eval", "os.system", "__import__('os')", "!!python/object/apply:os.system"),
    *("2026-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "P1D", "-", "--", "--help", "@", "="),
)
NUMBERS: Final = (
    *(0, 1, -1, 2, 255, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64),
    *(10**30, -(10**400), 1 << 2000, 0.0, -0.0, 0.1, 1e308, -1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf")),
)
MOMENTS: Final = (
    datetime.min,
    datetime.max,
    datetime(2026, 1, 1),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=23))),
    datetime.max.replace(tzinfo=timezone(-timedelta(hours=23))),
)
# Written by hand, since no encoder would write it.
JSON_TEXTS: Final = (
    *('["int", 1', '["int" 1]', '["int", 1] x', '["int", 1,]', "[1]", '["a"]', '["a", 1, 2]'),
    *('["int", 01]', '["int", +1]', '["int", 1e999]', '["int", NaN]', '["int", -Infinity]'),
    *(
        '["int", 0.' + "1" * 5000 + "]",
        '["int", ' + "1" * 5000 + "]",
        '["int", 1E-' + "9" * 30 + "]",
    ),
    *('["a", {"x": 1, "x": 2}]', '{"codec": "zip", "codec": "zlib", "data": ""}', '{"codec": 1}'),
    *('{"codec": "zip", "data": "!"}', '{"codec": [], "data": {}}', '{"data": "e30="}', "{}", "{"),
    *('["a", "\\ud800"]', '["a", "\\u0000"]', '["\\udfff", "x"]', '["a", "\x01"]', "\ufeff[]"),
    *('["builtins.eval", "1+1"]', '["os.system", "true"]', '{"__class__": "os"}', "null", '""'),
    *("[" * 300, "[" * 20_000, '{"a":' * 20_000, '["a", ' + "[" * 150 + "]" * 150 + "]"),
    *('["a", ' + '{"a":' * 300 + "1" + "}" * 300 + "]", '["a", "' + "x" * 50_000 + '"]'),
)


def text(chance: Random) -> str:
    """A text that somebody may have forgotten to think of."""
    kind = chance.random()
    if kind < 0.6:
        return chance.choice(TEXTS)
    if kind < 0.8:
        return chance.choice(TEXTS) + chance.choice(TEXTS)
    if kind < 0.9:
        return chance.choice(TEXTS) * chance.choice((3, 64, 300))
    return "".join(chr(chance.randrange(0x110000)) for _ in range(chance.randrange(20)))


def number(chance: Random) -> float:
    kind = chance.random()
    if kind < 0.7:
        return chance.choice(NUMBERS)
    return chance.getrandbits(chance.choice((8, 33, 64, 70, 2000))) - chance.getrandbits(16)


class Unshowable:
    """Its ``repr`` raises, and so does everything else."""

    def __repr__(self) -> str:
        raise RuntimeError("shall not be shown")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("shall not be compared")

    __hash__ = None  # type: ignore[assignment]


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


_ODD: Final[tuple[Callable[[], Any], ...]] = (
    object,
    Unshowable,
    _circle,
    lambda: {1: 2},
    lambda: {None: 1, (): 2},
    lambda: {"a", 1},
    lambda: b"\xff\0",
    lambda: Decimal("sNaN"),
    lambda: Decimal("1e9999"),
    lambda: timedelta.max,
    lambda: eval,
    lambda: type,
    lambda: (n for n in range(3)),
    lambda: 1j,
    lambda: ...,
    lambda: bytearray(b"x"),
    lambda: memoryview(b"x"),
    lambda: range(1_000),
)


def plain(chance: Random, depth: int = 3) -> Any:
    """A value as JSON has them, with what Python adds."""
    kind = chance.randrange(8 if depth else 5)
    if kind == 0:
        return chance.choice((None, True, False))
    if kind <= 2:
        return number(chance)
    if kind <= 4:
        return text(chance)
    if kind <= 6:
        return [plain(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {text(chance): plain(chance, depth - 1) for _ in range(chance.randrange(4))}


def value(chance: Random) -> Any:
    """Any object at all."""
    kind = chance.random()
    if kind < 0.15:
        return chance.choice(_ODD)()
    if kind < 0.25:
        return chance.choice(MOMENTS)
    made = plain(chance)
    if kind < 0.35:
        return [made, chance.choice(_ODD)()]
    if kind < 0.4:
        for _ in range(chance.choice((10, 100, 250, 2_000))):
            made = [made]
    return made


def json_text(chance: Random) -> str:
    """JSON, more or less."""
    kind = chance.random()
    if kind < 0.3:
        return chance.choice(JSON_TEXTS)
    made = json.dumps(plain(chance))
    return made if kind < 0.7 else f"[{json.dumps(text(chance))}, {made}]"


def damaged(chance: Random, sound: bytes) -> bytes:
    """Bytes that were sound, with a few changes."""
    data = bytearray(sound)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        _damage(chance, data)
    return bytes(data)


def _damage(chance: Random, data: bytearray) -> None:
    at = chance.randrange(len(data) + 1)
    kind = chance.randrange(6)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        data[at:at] = bytes([chance.randrange(256)])
    elif kind == 2:
        del data[at : at + chance.choice((1, 2, 8, 1000))]
    elif kind == 3:
        data[at:at] = data[at : at + chance.choice((2, 16, 64))] * chance.choice((1, 2, 50))
    elif kind == 4:
        data[at:at] = chance.choice((b'"', b"[", b"{", b",", b"\\", b"\0", b"\xff", b"0", b"-"))
    else:
        data[at : at + 4] = json_text(chance)[:64].encode("utf-8", "surrogatepass")


def damaged_plain(chance: Random, sound: Any) -> Any:
    """Plain values that were sound, of which one, somewhere in it, is another or is gone."""
    if isinstance(sound, dict) and sound and chance.random() < 0.9:
        changed, key = dict(sound), chance.choice(list(sound))
        if (kind := chance.random()) < 0.1:
            del changed[key]
        elif kind < 0.2:
            changed[text(chance)] = changed[key]
        else:
            changed[key] = damaged_plain(chance, changed[key])
        return changed
    if isinstance(sound, list) and sound and chance.random() < 0.9:
        items, at = list(sound), chance.randrange(len(sound))
        if (kind := chance.random()) < 0.1:
            del items[at]
        elif kind < 0.2:
            items.insert(chance.randrange(len(items) + 1), items[at])
        else:
            items[at] = damaged_plain(chance, items[at])
        return items
    if isinstance(sound, int) and chance.random() < 0.5:
        return sound + chance.choice((-1, 1, 2, 1000))
    return plain(chance, 1)
