"""``Workflow`` and ``@step``: a class whose runs survive anything."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, Never, Protocol, Unpack, overload

from loom.authoring.context import WorkflowContext
from loom.authoring.names import check_name
from loom.authoring.starting import ConflictPolicy, ReusePolicy, StartKeywords, StartOptions
from loom.durations import Duration
from loom.errors import ConfigurationError, DefinitionError
from loom.handle import WorkflowHandle
from loom.history.tags import TagValue
from loom.retry import RetryPolicy

STEP_ATTRIBUTE: Final = "__loom_step__"

type Starter = Callable[[type[Any], Any, StartOptions], Awaitable[WorkflowHandle[Any]]]
"""What ``Workflow.start`` needs of the application around it."""

CURRENT_STARTER: Final[ContextVar[Starter]] = ContextVar("loom_current_starter")
"""Set for the code inside ``async with app``, and for nobody else."""


class Runnable[InputT, R](Protocol):
    """A workflow whose whole code is one ``run`` method."""

    async def run(self, ctx: WorkflowContext[InputT, Any], /) -> R: ...


type Given[InputT] = InputT | Callable[[InputT], Never]
"""An input, as an argument beside the workflow that takes it.

Nobody gives the callable. It makes mypy look at this argument last, when it knows ``InputT`` from
the workflow, so that it reads ``{"order_id": "A-1"}`` as the ``TypedDict`` that is wanted.
"""


class Workflow[InputT, StateT]:
    """Base class of workflows: ``class Order(Workflow[OrderInput, OrderState])``.

    A workflow has either ``@step`` methods, which run in order of definition and leave the final
    state as the result, or one ``async def run(self, ctx)``, whose return value is the result. Its
    code must be deterministic: time, randomness and everything from outside come through ``ctx``.

    Methods with ``@signal``, ``@query`` and ``@update`` talk with the outside while it runs. All of
    them are called on one object, made once for each run.
    """

    ctx: WorkflowContext[InputT, StateT]
    """The run's context, there from the beginning: what handlers have instead of a parameter."""

    @overload
    @classmethod
    async def start[I, R](
        cls: type[Runnable[I, R]], input: I = ..., **options: Unpack[StartKeywords]
    ) -> WorkflowHandle[R]: ...

    @overload
    @classmethod
    async def start(
        cls, input: InputT = ..., **options: Unpack[StartKeywords]
    ) -> WorkflowHandle[StateT]: ...

    @classmethod
    async def start(
        cls,
        input: Any = None,
        *,
        id: str | None = None,
        queue: str = "default",
        on_conflict: ConflictPolicy = "use_existing",
        reuse: ReusePolicy = "allow",
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        start_at: datetime | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retry: RetryPolicy | None = None,
        memo: Any = None,
        tags: Mapping[str, TagValue] | None = None,
    ) -> WorkflowHandle[Any]:
        """Start a run with the application of the surrounding ``async with app``.

        The same as ``app.start(cls, ...)``. Raises ``ConfigurationError`` outside of any.
        """
        try:
            starter = CURRENT_STARTER.get()
        except LookupError:
            raise ConfigurationError(
                f"{cls.__name__}.start() was called outside of `async with Loom(...)`. "
                f"Open an app first, or use app.start({cls.__name__}, ...)."
            ) from None
        options = StartOptions(
            id=id,
            queue=queue,
            on_conflict=on_conflict,
            reuse=reuse,
            idempotency_key=idempotency_key,
            delay=delay,
            start_at=start_at,
            run_timeout=run_timeout,
            execution_timeout=execution_timeout,
            retry=retry,
            memo=memo,
            tags=tags,
        )
        return await starter(cls, input, options)


class StepOptions:
    """What ``@step`` was given."""

    def __init__(self, name: str) -> None:
        self.name = check_name("step", name)


@overload
def step[F: Callable[..., Any]](method: F, /) -> F: ...


@overload
def step[F: Callable[..., Any]](*, name: str | None = None) -> Callable[[F], F]: ...


def step(method: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Any:
    """Make a method a step of its workflow. Steps run one after the other, as they are defined.

    Args:
        name: for people and logs; by default the method's own name.
    """

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.isfunction(method):
            raise DefinitionError(
                f"@step was put on {method!r}, which is not a method. Options are given by name, "
                'as in @step(name="...").'
            )
        setattr(method, STEP_ATTRIBUTE, StepOptions(method.__name__ if name is None else name))
        return method

    return decorate if method is None else decorate(method)
