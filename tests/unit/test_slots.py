"""How many activities a worker takes at a time."""

from __future__ import annotations

import pytest

import loom
from loom.authoring.registry import Registry
from loom.runner.options import RunnerOptions
from loom.runner.slots import Slots


@loom.activity
async def fetch() -> None: ...


@loom.activity
def read() -> None: ...


@loom.activity(executor="process")
def crunch() -> None: ...


@pytest.fixture
def slots() -> Slots:
    options = RunnerOptions(concurrency=30, threads=20, processes=2)
    return Slots(Registry(activities=[fetch, read, crunch]), options, lambda: None)


def test_only_the_kinds_that_are_asked_for_limit_how_many_are_taken(slots: Slots) -> None:
    assert slots.room(["fetch"]) == 30
    assert slots.room(["fetch", "read"]) == 20
    assert slots.room(["fetch", "read", "crunch"]) == 2


def test_a_kind_without_room_is_not_asked_for_and_does_not_limit_the_others(slots: Slots) -> None:
    assert slots.reserve("crunch")
    assert slots.reserve("crunch")
    assert not slots.reserve("crunch")

    assert slots.names() == ("fetch", "read")
    assert slots.room(slots.names()) == 20
