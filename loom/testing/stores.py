"""Where environments keep their runs when they are not told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


def _in_memory() -> str:
    return "memory://"


_make_dsn: Callable[[], str] = _in_memory


def default_dsn() -> str:
    """The DSN for an environment that was given none."""
    return _make_dsn()


@contextmanager
def default_store(make_dsn: Callable[[], str]) -> Iterator[None]:
    """Let environments that are given no DSN ask this for one meanwhile."""
    global _make_dsn
    before, _make_dsn = _make_dsn, make_dsn
    try:
        yield
    finally:
        _make_dsn = before
