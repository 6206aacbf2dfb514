"""What may be a handler, and what its arguments are sent as."""

from __future__ import annotations

from typing import Any

import pytest

import loom
from loom.authoring.compiled import compiled_workflow
from loom.authoring.handlers import HandlerDefinition, HandlerKind, handler_of
from loom.errors import DefinitionError, PayloadError
from loom.history.payloads import PayloadConverter

SIGNAL, QUERY, UPDATE = HandlerKind

converter = PayloadConverter()


class Base(loom.Workflow[Any, Any]):
    async def run(self, ctx: loom.WorkflowContext[Any, Any]) -> None: ...


def found(cls: type, kind: HandlerKind, name: str) -> HandlerDefinition:
    handler = compiled_workflow(cls).handlers.find(kind, name)
    assert handler is not None
    return handler


def test_handlers_are_found_by_kind_and_name() -> None:
    @loom.workflow
    class Order(Base):
        @loom.signal
        async def add(self) -> None: ...

        @loom.query(name="add")
        def look(self) -> None: ...

        @loom.update(name="change it")
        def change(self) -> None: ...

    handlers = compiled_workflow(Order).handlers
    assert found(Order, SIGNAL, "add").method is Order.add
    assert found(Order, QUERY, "add").method is Order.look
    assert found(Order, UPDATE, "change it").method is Order.change  # type: ignore[comparison-overlap]
    assert handlers.find(UPDATE, "change") is None
    assert handlers.names(UPDATE) == ["change it"]


def test_a_dynamic_handler_takes_what_has_none_of_its_own() -> None:
    @loom.workflow
    class Order(Base):
        @loom.signal
        def known(self) -> None: ...

        @loom.signal(dynamic=True)
        def any_other(self, name: str, payload: int) -> None: ...

    assert found(Order, SIGNAL, "known").method is Order.known
    other = found(Order, SIGNAL, "unknown")
    assert other.method is Order.any_other
    read = other.read("unknown", converter.encode(5), converter.decode)
    assert read == {"name": "unknown", "payload": 5}
    with pytest.raises(PayloadError):
        other.read("unknown", converter.encode("five"), converter.decode)


def test_an_override_keeps_the_place_of_what_it_overrides() -> None:
    class Parent(Base):
        @loom.signal(name="go")
        def go_on(self) -> None: ...

        @loom.query
        def left(self) -> int:
            return 0

    @loom.workflow
    class Child(Parent):
        def go_on(self) -> None: ...

        @loom.query(name="remaining")
        def left(self) -> int:
            return 1

    assert found(Child, SIGNAL, "go").method is Child.go_on
    assert handler_of(Child.go_on, SIGNAL).name == "go"
    assert found(Child, QUERY, "remaining").method is Child.left
    assert compiled_workflow(Child).handlers.find(QUERY, "left") is None


def packed(method: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
    """What is sent for a call, and what the handler is called with."""
    handler = handler_of(method, SIGNAL)
    value = handler.parameters.pack(handler.parameters.bind(args, kwargs))
    payload = converter.encode(value, handler.payload_type)
    return value, handler.read(handler.name, payload, converter.decode)


def test_the_payload_is_what_the_parameters_make_of_it() -> None:
    @loom.signal
    def none(self: Any) -> None: ...

    @loom.signal
    def one(self: Any, item: list[int]) -> None: ...

    @loom.signal
    def several(self: Any, item: str, count: int = 1, *, gift: bool = False) -> None: ...

    assert packed(none) == (None, {})
    assert packed(one, [1, 2]) == ([1, 2], {"item": [1, 2]})
    assert packed(several, "ink") == ({"item": "ink"}, {"item": "ink"})
    full = {"item": "ink", "count": 2, "gift": True}
    assert packed(several, "ink", count=2, gift=True) == (full, full)


def test_an_only_argument_may_be_left_out_when_it_has_a_default() -> None:
    @loom.signal
    def nudge(self: Any, times: int = 3) -> None: ...

    @loom.signal
    def hint(self: Any, text: str | None = "none") -> None: ...

    assert packed(nudge) == (3, {"times": 3})
    assert packed(hint, None) == (None, {"text": None})
    by_name = converter.encode(None)
    assert handler_of(nudge, SIGNAL).read("nudge", by_name, converter.decode) == {}
    assert handler_of(hint, SIGNAL).read("hint", by_name, converter.decode) == {"text": None}


@pytest.mark.parametrize("arguments", [(), (1, 2), ("many",)])
def test_arguments_that_do_not_fit_are_refused(arguments: tuple[Any, ...]) -> None:
    @loom.signal
    def one(self: Any, item: int) -> None: ...

    with pytest.raises(PayloadError):
        packed(one, *arguments)


def test_what_cannot_be_a_handler_is_refused_where_it_is_defined() -> None:
    def make(define: Any) -> Any:
        return lambda: loom.workflow(type("Wrong", (Base,), {"handler": define}))

    @loom.query
    async def slow(self: Any) -> None: ...

    @loom.signal
    async def stream(self: Any) -> Any:
        yield 1

    @loom.signal
    def many(self: Any, *items: int) -> None: ...

    @loom.signal(dynamic=True)
    def anything(self: Any, name: str) -> None: ...

    @loom.update
    def change(self: Any, item: int) -> None: ...

    @change.validator
    def check(self: Any, other: int) -> None: ...

    @loom.update
    def alter(self: Any) -> None: ...

    @alter.validator  # type: ignore[type-var]
    async def slow_check(self: Any) -> None: ...

    expected = {
        slow: "must be a plain `def`",
        stream: "is a generator",
        many: "must take self and then parameters with names",
        anything: r"must take exactly \(self, name, payload\)",
        change: r"must take the same parameters as the update: \(self, item\)",
        alter: "validator of 'alter' must be a plain `def`",
    }
    for define, message in expected.items():
        with pytest.raises(DefinitionError, match=message):
            make(define)()


def test_two_handlers_cannot_share_a_name_or_be_both_dynamic() -> None:
    with pytest.raises(DefinitionError, match="two handlers of the signal 'go'"):

        @loom.workflow
        class Twice(Base):
            @loom.signal
            def go(self) -> None: ...

            @loom.signal(name="go")
            def move(self) -> None: ...

    with pytest.raises(DefinitionError, match="two handlers of the query dynamic"):

        @loom.workflow
        class TwiceDynamic(Base):
            @loom.query(dynamic=True)
            def one(self, name: str, payload: Any) -> None: ...

            @loom.query(dynamic=True)
            def two(self, name: str, payload: Any) -> None: ...


def test_a_decorator_is_given_a_method_and_options_that_mean_something() -> None:
    with pytest.raises(DefinitionError, match="Options are given by name"):
        loom.signal("go")  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="give it none"):
        loom.query(name="go", dynamic=True)
    with pytest.raises(DefinitionError, match="unfinished is either"):
        loom.update(unfinished="drop")  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="name '' is empty"):
        loom.signal(name="")(lambda self: None)
    with pytest.raises(DefinitionError, match="is no update"):
        handler_of(Base.run, UPDATE)


def test_annotations_that_cannot_be_resolved_are_found_by_the_worker() -> None:
    @loom.workflow
    class Unresolved(Base):
        @loom.signal
        def go(self, item: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    from loom.authoring.registry import Registry

    with pytest.raises(DefinitionError, match="'Missing' is not defined"):
        Registry([Unresolved])
