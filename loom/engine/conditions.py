"""Code that waits until something holds, and looking whether it does.

The rules:

1. Conditions are looked at whenever nothing else is left to run, in the order of asking.
2. The first that holds lets its waiter go on, and what follows from that runs before the next look.
   So no other code comes between: what a waiter waited for still holds when it goes on.
3. A condition that raises fails its own waiter and nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context

from loom.errors import StopReplay


class Conditions:
    """What the code of one run waits for, in the order of asking."""

    def __init__(self, create_future: Callable[[], asyncio.Future[None]]) -> None:
        self._create_future = create_future
        self._waiting: dict[asyncio.Future[None], tuple[Context, Callable[[], bool]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds. Raises what the condition raises."""
        waiter = self._create_future()
        # In the context of who asks, as its own code would see it.
        self._waiting[waiter] = copy_context(), condition
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)

    def look(self) -> None:
        """Let the first waiter go on whose condition holds or raises."""
        # A copy, since nothing keeps a condition from ending another's wait.
        for waiter, (context, condition) in tuple(self._waiting.items()):
            if waiter.done():
                continue
            try:
                if not context.run(condition):
                    continue
                waiter.set_result(None)
            except (KeyboardInterrupt, StopReplay):
                raise
            except BaseException as error:
                waiter.set_exception(error)
            return
