"""``@workflow`` and ``@step``: how a class is read, and what is refused about it."""

from __future__ import annotations

from typing import Any, Generic, TypedDict, TypeVar

import pytest

from loom.authoring.activity import activity
from loom.authoring.compiled import compiled_workflow, is_workflow, workflow
from loom.authoring.context import WorkflowContext
from loom.authoring.registry import Registry
from loom.authoring.workflow import Workflow, step
from loom.errors import ConfigurationError, DefinitionError

type Ctx = WorkflowContext[Any, Any]


class Order(TypedDict):
    id: str


class Paid(TypedDict, total=False):
    paid: bool


class Steps(Workflow[Order, Paid]):
    @step
    async def first(self, ctx: Ctx) -> None: ...

    @step(name="second step")
    async def second(self, ctx: Ctx) -> None: ...

    async def not_a_step(self, ctx: Ctx) -> None: ...


class Run(Workflow[Order, None]):
    async def run(self, ctx: Ctx) -> int:
        return 1


def test_bare_gives_the_name_of_the_class() -> None:
    compiled = compiled_workflow(workflow(Run))
    assert (compiled.name, compiled.version) == ("Run", "1")
    assert (compiled.input_type, compiled.result_type) == (Order, int)
    assert not compiled.returns_state


def test_options_are_taken() -> None:
    compiled = compiled_workflow(workflow(name="Renamed", version="2.0")(Run))
    assert (compiled.name, compiled.version) == ("Renamed", "2.0")


def test_steps_run_in_the_order_of_definition() -> None:
    compiled = compiled_workflow(workflow(Steps))
    assert list(compiled.steps) == ["first", "second step"]
    assert compiled.returns_state


def test_an_overridden_step_keeps_its_place_and_its_name() -> None:
    @workflow
    class Override(Steps):
        @step
        async def third(self, ctx: Ctx) -> None: ...

        async def second(self, ctx: Ctx) -> None: ...

        @step(name="renamed")
        async def first(self, ctx: Ctx) -> None: ...

    steps = compiled_workflow(Override).steps
    assert list(steps) == ["renamed", "second step", "third"]
    assert steps["second step"] is Override.second


def test_steps_of_a_mixin_come_first() -> None:
    class Audited:
        @step
        async def audit(self, ctx: Ctx) -> None: ...

    @workflow
    class Both(Steps, Audited):
        pass

    assert list(compiled_workflow(Both).steps) == ["audit", "first", "second step"]


def test_a_subclass_is_no_workflow_until_it_is_decorated() -> None:
    class Derived(workflow(Run)):  # type: ignore[misc]
        pass

    assert is_workflow(Run)
    assert not is_workflow(Derived)
    with pytest.raises(DefinitionError, match=r"decorate the class with @loom\.workflow"):
        compiled_workflow(Derived)


# --- the types of input and state ---

T = TypeVar("T")


class Base[I](Workflow[I, Paid]):
    async def run(self, ctx: Ctx) -> None: ...


class Swapped[S, I](Workflow[list[I], dict[str, S]]):
    async def run(self, ctx: Ctx) -> None: ...


class Old(Workflow[T, T], Generic[T]):  # noqa: UP046
    async def run(self, ctx: Ctx) -> None: ...


class Derived(Base[Order]): ...


class DerivedTwice(Derived): ...


class Ordered(Swapped[int, str]): ...


class OldDerived(Old[bytes]): ...


class Bare(Workflow):  # type: ignore[type-arg]
    async def run(self, ctx: Ctx) -> None: ...


@pytest.mark.parametrize(
    ("cls", "input_type", "state_type"),
    [
        (Derived, Order, Paid),
        (DerivedTwice, Order, Paid),
        (Base, Any, Paid),
        (Ordered, list[str], dict[str, int]),
        (OldDerived, bytes, bytes),
        (Bare, Any, Any),
    ],
)
def test_types_are_found_wherever_they_were_given(
    cls: type, input_type: Any, state_type: Any
) -> None:
    compiled = compiled_workflow(workflow(cls))
    assert compiled.input_type == input_type
    assert compiled.state_schema.declared == state_type


def test_types_as_text_are_refused() -> None:
    class Text(Workflow["Order", "Paid"]):
        async def run(self, ctx: Ctx) -> None: ...

    with pytest.raises(DefinitionError, match="not their names as text"):
        workflow(Text)


# --- what is refused ---


class Nothing(Workflow[Order, Paid]): ...


class BothKinds(Steps):
    async def run(self, ctx: Ctx) -> None: ...


class NotAsync(Workflow[Order, Paid]):
    def run(self, ctx: Ctx) -> None: ...


class NotAsyncStep(Workflow[Order, Paid]):
    @step
    def pay(self, ctx: Ctx) -> None: ...


class NoContext(Workflow[Order, Paid]):
    async def run(self) -> None: ...


class TooMuch(Workflow[Order, Paid]):
    @step
    async def pay(self, ctx: Ctx, amount: int) -> None: ...


class SameName(Workflow[Order, Paid]):
    @step(name="pay")
    async def one(self, ctx: Ctx) -> None: ...

    @step(name="pay")
    async def two(self, ctx: Ctx) -> None: ...


class Init(Workflow[Order, Paid]):
    def __init__(self, database: str) -> None: ...

    async def run(self, ctx: Ctx) -> None: ...


class NotAWorkflow:
    async def run(self, ctx: Ctx) -> None: ...


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (Nothing, "Nothing has nothing to run: it needs @step methods or an `async def run`"),
        (BothKinds, "BothKinds has both @step methods and a run method"),
        (NotAsync, "NotAsync: 'run' must be an `async def`"),
        (NotAsyncStep, "NotAsyncStep: 'pay' must be an `async def`"),
        (NoContext, r"NoContext: 'run' must take exactly \(self, ctx\)"),
        (TooMuch, r"TooMuch: 'pay' must take exactly \(self, ctx\)"),
        (SameName, "SameName has two steps named 'pay'"),
        (Init, r"Init.__init__ must take no arguments: a run gets its input as ctx\.input"),
        (NotAWorkflow, r"does not derive from loom\.Workflow"),
        ("OrderProcessing", r'Options are given by name, as in @workflow\(name="\.\.\."\)'),
    ],
)
def test_a_class_that_cannot_work_is_refused_with_the_reason(cls: Any, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        workflow(cls)


@pytest.mark.parametrize(
    "options", [{"name": ""}, {"version": ""}, {"name": "x" * 256}, {"version": "1\n"}]
)
def test_a_name_that_not_every_store_can_hold_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(DefinitionError, match=r"The (workflow|version) name"):
        workflow(**options)(Run)


def test_a_step_s_name_is_given_by_name() -> None:
    with pytest.raises(DefinitionError, match=r'@step\(name="\.\.\."\)'):
        step("payment")  # type: ignore[type-var]
    with pytest.raises(DefinitionError, match="The step name '' is empty"):
        step(name="")(Run.run)


# --- the registry ---


def test_a_registry_finds_by_name_and_version() -> None:
    @activity
    def pay() -> None: ...

    registry = Registry([workflow(Run), workflow(version="2")(Steps)], [pay, pay])
    found = registry.workflow("Steps", "2")
    assert found is not None
    assert found.cls is Steps
    assert registry.workflow("Steps", "1") is None
    assert registry.activity("pay") is not None
    assert registry.activity("refund") is None


def test_two_workflows_of_one_name_and_version_are_refused() -> None:
    @workflow(name="Run")
    class Other(Workflow[None, None]):
        async def run(self, ctx: Ctx) -> None: ...

    with pytest.raises(DefinitionError, match="Two workflows are named 'Run' in version '1'"):
        Registry([workflow(Run), Other])


def test_two_activities_of_one_name_are_refused() -> None:
    @activity(name="pay")
    def one() -> None: ...

    @activity(name="pay")
    def two() -> None: ...

    with pytest.raises(DefinitionError, match="Two activities are named 'pay'"):
        Registry(activities=[one, two])


def test_what_was_not_decorated_is_refused_by_the_registry() -> None:
    with pytest.raises(DefinitionError, match="is not a workflow"):
        Registry([Nothing])
    with pytest.raises(DefinitionError, match="is not an activity"):
        Registry(activities=[len])


async def test_starting_outside_of_an_app_says_what_to_open() -> None:
    with pytest.raises(ConfigurationError, match=r"Run\.start\(\) was called outside of"):
        await workflow(Run).start({"id": "1"})
