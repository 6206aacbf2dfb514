"""Small parts that the unit tests build workflows from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from loom.authoring.activity import activity
from loom.authoring.compiled import workflow
from loom.authoring.context import WorkflowContext
from loom.authoring.workflow import Workflow

type Ctx = WorkflowContext[Any, Any]


def workflow_of(
    run: Callable[[Ctx], Awaitable[Any]], input_type: Any = Any, state_type: Any = Any
) -> type[Workflow[Any, Any]]:
    """A workflow whose whole code is one function."""

    class Written(Workflow[input_type, state_type]):  # type: ignore[valid-type]
        async def run(self, ctx: Ctx) -> Any:
            return await run(ctx)

    return workflow(Written)


@activity
def add(a: int, b: int = 0) -> int:
    return a + b


@activity
def fetch(name: str) -> str:
    return name.upper()


@activity
def clean() -> None:
    pass
