"""A newer SQLite than Python's own, for peers that need one."""

from __future__ import annotations

import sqlite3
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Final

_WHEEL: Final = "pysqlite3"
_NEEDED: Final = (3, 42)


def is_there() -> bool:
    """Whether there is one, of Python's own or from the wheel."""
    return sqlite3.sqlite_version_info >= _NEEDED or find_spec(_WHEEL) is not None


def is_wanted(peers: bool) -> bool:
    """Whether subjects should use the wheel: all of them alike, if there are peers that must."""
    return peers and sqlite3.sqlite_version_info < _NEEDED and find_spec(_WHEEL) is not None


def use() -> None:
    """Put the wheel's module in the place of Python's own, in this process, before others do."""
    for name in ("dbapi2", ""):
        module = import_module(f"{_WHEEL}.{name}".rstrip("."))
        sys.modules[f"sqlite3.{name}".rstrip(".")] = module
