"""Asking the run for something: calls that must be awaited, so that a forgotten ``await`` shows.

Each is an ordinary coroutine. Besides, until it begins, it holds what its run keeps track of it by:
when a coroutine is let go of before it has begun, its run is told.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from loom.authoring.runtime import Runtime


def asks[F: Callable[..., Coroutine[Any, Any, Any]]](call: str) -> Callable[[F], F]:
    """Make a method of something with a ``_runtime`` a call that must be awaited.

    ``call`` is what people write, as in ``"ctx.sleep()"``.
    """

    def decorate(method: F) -> F:
        async def begun(held: list[object], owner: Any, args: Any, options: Any) -> Any:
            # Whatever comes now, it was not forgotten.
            held.clear()
            return await method(owner, *args, **options)

        @functools.wraps(method)
        def ask(self: Any, /, *args: Any, **options: Any) -> Any:
            runtime: Runtime = self._runtime
            held: list[object] = []
            coroutine = begun(held, self, args, options)
            held.append(runtime.track(call, coroutine, sys._getframe(1)))
            return coroutine

        # What Python's own warning says was never awaited.
        begun.__name__, begun.__qualname__ = method.__name__, method.__qualname__
        return cast(F, inspect.markcoroutinefunction(ask))

    return decorate
