"""``Saga``: steps that are undone, in reverse, when one after them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

from loom.authoring.activity import ActivityDefinition, activity_definition
from loom.authoring.runtime import Runtime
from loom.errors import CompensationFailedError, DefinitionError, LoomError

type OnError = Literal["continue", "stop"]
"""What a saga does when a compensation fails: go on with the others, or leave them."""

# Not what unwinds a run.
_FAILURES = (Exception, asyncio.CancelledError, SystemExit)


class Saga:
    """Compensations, as ``async with ctx.saga() as saga:`` gives them.

    When the block is left by an exception or a cancellation, they run one after the other, the
    newest first, and then the exception goes on. When it is left in any other way they are dropped.
    """

    def __init__(self, runtime: Runtime, on_error: OnError, open_sagas: set[Saga]) -> None:
        if on_error not in ("continue", "stop"):
            raise ValueError(f"saga(on_error={on_error!r}): it is either 'continue' or 'stop'.")
        self._runtime = runtime
        self._on_error = on_error
        self._registered: list[tuple[ActivityDefinition, Mapping[str, Any]]] = []
        self._open_sagas = open_sagas

    @property
    def has_compensations(self) -> bool:
        """Whether something was registered and has not been dropped or run."""
        return bool(self._registered)

    def compensate[**P](
        self, activity: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Register an activity that undoes a step, with its arguments, which are recorded.

        Registered before the step it is run even if nobody knows whether the step took place, and
        must be able to deal with that; registered after it, only when the step has succeeded.

        Raises:
            PayloadError: the arguments do not fit its parameters.
            DefinitionError: the function was not decorated with ``@activity``.
            LoomError: the block has been left.
        """
        if self not in self._open_sagas:
            raise LoomError("saga.compensate() was called outside of its `async with` block.")
        definition = activity_definition(activity)
        arguments = definition.bind(args, kwargs)
        recorded = self._runtime.register_compensation(definition, arguments)
        self._registered.append((definition, recorded))

    async def __aenter__(self) -> Self:
        self._open_sagas.add(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open_sagas.discard(self)
        try:
            if isinstance(error, _FAILURES) and self._registered:
                await self._undo(error)
        finally:
            self._registered.clear()

    async def _undo(self, reason: BaseException) -> None:
        count = len(self._registered)
        failures, cancelled = await _shielded(self._run_all())
        if failures:
            raise _error_of(failures, count, left=len(self._registered)) from reason
        if cancelled is not None and not isinstance(reason, asyncio.CancelledError):
            raise cancelled

    async def _run_all(self) -> list[Exception]:
        failures: list[Exception] = []
        while self._registered and not (failures and self._on_error == "stop"):
            activity, arguments = self._registered.pop()
            try:
                await self._runtime.run_activity(activity, arguments)
            except Exception as error:
                failures.append(error)
        return failures


def refuse_in_sagas(open_sagas: Iterable[Saga]) -> None:
    """Raises ``DefinitionError`` when a run is to go on as another, which would undo nothing."""
    if any(saga.has_compensations for saga in open_sagas):
        raise DefinitionError(
            "ctx.continue_as_new() was called inside of a saga that has something to undo. Leave "
            "the block first: the next run does not know what was registered."
        )


async def _shielded[T](
    work: Coroutine[Any, Any, T],
) -> tuple[T, asyncio.CancelledError | None]:
    """See work through, whatever cancels the wait for it; the first cancellation is given back."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    return task.result(), cancelled


def _error_of(failures: list[Exception], count: int, *, left: int) -> CompensationFailedError:
    causes = "; ".join(map(str, failures))
    rest = f", and {left} were not run" if left else ""
    return CompensationFailedError(
        f"{len(failures)} of {count} compensations failed{rest}: {causes}", failures
    )
