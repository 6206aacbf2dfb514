"""Calls of a clock, each hidden in another way. Each test loads them anew, so that nothing of it
has been watched before."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def helper() -> float:
    return deeper()


def deeper() -> float:
    return time.time()


def key(each: int) -> float:
    return time.time()


@contextlib.contextmanager
def measured() -> Any:
    yield time.time()


@functools.lru_cache
def remembered(each: object) -> float:
    return time.time()


class Clock:
    def __init__(self, start: bool = False) -> None:
        self.started = time.time() if start else 0.0

    def read(self) -> float:
        return time.time()

    @property
    def reading(self) -> float:
        return time.time()

    @classmethod
    def first(cls) -> float:
        return time.time()

    def __call__(self) -> float:
        return time.time()


@dataclass
class Item:
    at: float = field(default_factory=time.time)


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


@decorated
def wrapped() -> float:
    return time.time()


CLOCK = Clock()
WAYS: dict[str, Callable[[], Any]] = {
    "a function": lambda: helper(),
    "a key": lambda: sorted([1], key=key),
    "a map": lambda: list(map(key, [1])),
    "a partial": lambda: functools.partial(key, 1)(),
    "a generator": lambda: [key(each) for each in (n for n in range(2))],
    "a context manager": lambda: measured().__enter__(),
    "a cache": lambda: remembered(object()),
    "a constructor": lambda: Clock(True),
    "a method": lambda: CLOCK.read(),
    "a property": lambda: CLOCK.reading,
    "a class method": lambda: Clock.first(),
    "a callable": lambda: CLOCK(),
    "a dataclass's default": lambda: Item(),
    "a decorated function": lambda: wrapped(),
}
