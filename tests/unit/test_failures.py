"""Whatever an exception does, history keeps a readable description of it."""

from __future__ import annotations

import pytest

from loom.history.failures import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    FailureKind,
    failure_from,
    storable,
    type_name,
)


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class HostileRepr(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_failure_has_type_message_and_traceback() -> None:
    failure = failure_from(raised(ValueError("wrong")))
    assert (failure.type, failure.message) == ("ValueError", "wrong")
    assert failure.kind is FailureKind.ERROR
    assert failure.traceback.endswith("ValueError: wrong\n")
    assert "in raised" in failure.traceback


def test_types_of_modules_are_named_in_full() -> None:
    assert type_name(Hostile) == f"{__name__}.Hostile"
    assert type_name(KeyError) == "KeyError"


@pytest.mark.parametrize("error", [Hostile(), HostileRepr("x"), Hostile(Hostile())])
def test_an_exception_whose_text_raises_is_described_all_the_same(error: Exception) -> None:
    failure = failure_from(raised(error))
    assert failure.message == "<its str() raised RuntimeError>"
    assert "Hostile" in failure.traceback


class Panicking(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


def test_an_exception_whose_text_ends_the_process_does_not() -> None:
    failure = failure_from(raised(Panicking()))
    assert failure.message == "<its str() raised SystemExit>"
    assert "Panicking" in failure.traceback


def test_causes_are_part_of_the_traceback() -> None:
    error = ValueError("outer")
    error.__cause__ = raised(KeyError("inner"))
    traceback = failure_from(raised(error)).traceback
    assert "KeyError: 'inner'" in traceback
    assert "direct cause" in traceback
    assert traceback.index("inner") < traceback.index("outer")


def test_groups_show_their_members() -> None:
    group = ExceptionGroup("both", [ValueError("one"), KeyError("two")])
    traceback = failure_from(raised(group)).traceback
    assert "ValueError: one" in traceback
    assert "KeyError: 'two'" in traceback


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "second" in failure_from(first).traceback


def test_a_long_chain_of_causes_is_cut_short() -> None:
    error = ValueError("0")
    for number in range(1, 3000):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following
    assert len(failure_from(error).traceback) < MAX_TRACEBACK + 100


def test_a_group_nested_too_deep_to_be_written_is_described() -> None:
    group: Exception = ValueError("core")
    for _ in range(5000):
        group = ExceptionGroup("layer", [group])
    assert failure_from(group).message == "layer (1 sub-exception)"


def test_text_is_made_storable() -> None:
    failure = failure_from(ValueError("nul \0 surrogate \ud800 kept ☃"))
    assert failure.message == "nul \\0 surrogate \\ud800 kept ☃"
    failure.message.encode()
    failure.traceback.encode()


def test_a_type_with_a_strange_name_is_made_storable() -> None:
    strange = type("Strange", (Exception,), {"__module__": None, "__qualname__": "A\0\ud800"})
    assert failure_from(strange()).type == "None.A\\0\\ud800"


def test_long_text_keeps_its_beginning_and_its_end() -> None:
    message = failure_from(ValueError("begin " + "x" * 100_000 + " end")).message
    assert message.startswith("begin ")
    assert message.endswith(" end")
    assert "characters left out" in message
    assert len(message) < MAX_MESSAGE + 100


def test_text_within_the_limit_is_left_alone() -> None:
    assert storable("x" * 10, 10) == "x" * 10
    assert storable("", 10) == ""
