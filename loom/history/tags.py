"""Tags: small values that runs are found by, as text that sorts as the values do.

The first character tells the kind. Numbers are told by value, so that 5 and 5.0 are one tag: a
digit for the sign, three for the decimal exponent, then the digits; of negative ones all of it is
complemented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from loom.errors import PayloadError
from loom.given import shown
from loom.identifiers import MAX_ID_LENGTH

type TagValue = str | int | float | bool | datetime
"""What a tag may be. A moment needs a time zone, and is given back in UTC."""

_EPOCH: Final = datetime(1, 1, 1, tzinfo=UTC)
_EXPONENT_BIAS: Final = 500
_COMPLEMENT: Final = str.maketrans("0123456789", "9876543210")
_AFTER_ALL_DIGITS: Final = "~"


def encode_tags(tags: Mapping[str, TagValue]) -> dict[str, str]:
    """Tags as they are stored. Raises ``PayloadError`` for a name or value that cannot be one."""
    _check_mapping(tags)
    return {_checked_name(name): _encoded(name, value) for name, value in tags.items()}


def encode_changes(tags: Mapping[str, TagValue | None]) -> dict[str, str | None]:
    """The same for changes, of which ``None`` takes a tag away."""
    _check_mapping(tags)
    kept = encode_tags({name: value for name, value in tags.items() if value is not None})
    return {name: kept.get(_checked_name(name)) for name in tags}


def decode_tag(text: str) -> TagValue:
    """The value of a stored tag. Raises ``ValueError`` when it is none."""
    kind, rest = text[:1], text[1:]
    match kind:
        case "s":
            return rest
        case "b":
            return rest == "1"
        case "n":
            return _read_number(rest)
        case "t":
            return _EPOCH + timedelta(microseconds=int(rest))
    raise ValueError(f"{text!r} is no tag")


def _check_mapping(tags: object) -> None:
    if not isinstance(tags, Mapping):
        raise PayloadError(
            f"Tags are a dict of names and values, as {{'stage': 'paid'}}, and not {shown(tags)}."
        )


def _checked_name(name: object) -> str:
    problem = "is not a string" if not isinstance(name, str) else _text_problem(name)
    if not problem and not name:
        problem = "is empty"
    if problem or not isinstance(name, str):
        raise PayloadError(f"The tag name {shown(name)} {problem}.")
    return name


def _encoded(name: str, value: object) -> str:
    problem: str | None = "is no str, int, float, bool or datetime"
    if isinstance(value, bool):
        return f"b{value:d}"
    if isinstance(value, str):
        problem = _text_problem(value)
        if problem is None:
            return f"s{str.__str__(value)}"
    elif isinstance(value, int | float):
        problem = _number_problem(value)
        if problem is None:
            return f"n{_number(value)}"
    elif isinstance(value, datetime):
        problem = "has no time zone; give it one, for example UTC"
        if value.utcoffset() is not None and not _is_shown(value):
            problem = "is beyond what a calendar holds in UTC"
        elif value.utcoffset() is not None:
            return f"t{(value - _EPOCH) // timedelta(microseconds=1):020d}"
    raise PayloadError(f"The tag {name!r} cannot be {_kind_shown(value)}: it {problem}.")


def _is_shown(moment: datetime) -> bool:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return False
    return True


def _text_problem(text: str) -> str | None:
    if len(text) > MAX_ID_LENGTH:
        return f"is longer than {MAX_ID_LENGTH} characters"
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return "holds a character that no database takes"
    return None


def _number_problem(number: float) -> str | None:
    if isinstance(number, int):
        # By bits, since so many digits may not even be written.
        return "is too large" if number.bit_length() > 1024 else None
    return None if math.isfinite(number) else "is not finite"


def _number(number: int | float) -> str:
    # Exactly what it is, or of a fraction the shortest text that is read as the same number.
    whole = isinstance(number, int) or number.is_integer()
    exact = Decimal(int(number)) if whole else Decimal(float.__repr__(number))
    sign, digits, exponent = exact.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).rstrip("0")
    if not text:
        return "1"
    # Where the point would stand if it were 0.digits
    scale = len(digits) + exponent
    told = f"{scale + _EXPONENT_BIAS:03d}{text}"
    return f"0{told.translate(_COMPLEMENT)}{_AFTER_ALL_DIGITS}" if sign else f"2{told}"


def _read_number(text: str) -> int | float:
    if text == "1":
        return 0
    is_negative = text[0] == "0"
    told = text[1:].rstrip(_AFTER_ALL_DIGITS)
    told = told.translate(_COMPLEMENT) if is_negative else told
    scale, digits = int(told[:3]) - _EXPONENT_BIAS, told[3:]
    exponent = scale - len(digits)
    signed = f"-{digits}" if is_negative else digits
    return int(signed) * 10**exponent if exponent >= 0 else float(f"{signed}e{exponent}")


def _kind_shown(value: object) -> str:
    return f"a {type(value).__name__}" if not isinstance(value, float) else repr(value)
