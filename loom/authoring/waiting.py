"""Waiting for what the workflow's code brings about, and for several tasks in a known order."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any

from loom.durations import Duration, timeout_seconds


def check_condition(condition: object) -> None:
    """Raises ``TypeError`` for what cannot be called, such as a condition's own value."""
    if not callable(condition):
        raise TypeError(
            "ctx.wait_until() takes a function that says whether to go on, as in "
            f"ctx.wait_until(lambda: self.ready), not {condition!r}."
        )


def described(condition: Callable[[], bool]) -> str:
    """A condition in words that are the same in every process."""
    code = getattr(condition, "__code__", None)
    name = getattr(condition, "__qualname__", type(condition).__qualname__)
    return f"the condition {name}" + (f" (line {code.co_firstlineno})" if code else "")


def holds(condition: Callable[[], bool]) -> bool:
    """Whether a condition holds. Raises ``TypeError`` for one that would have to be awaited."""
    try:
        answer: object = condition()
    except StopIteration as error:
        # As a coroutine would turn it into, since no future can carry it.
        raise RuntimeError(f"{condition!r} raised StopIteration") from error
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError(
            "wait_until() takes a plain function, which is called often and must not wait: "
            f"{condition!r} is an async one."
        )
    return bool(answer)


async def wait[F: asyncio.Future[Any]](
    tasks: Iterable[F],
    *,
    timeout: Duration | None = None,
    return_when: str = asyncio.ALL_COMPLETED,
) -> tuple[list[F], list[F]]:
    """Wait for tasks as ``asyncio.wait`` does, and get them as lists in the order given.

    Works the same in a workflow and outside of one. Nothing is cancelled, and nothing is raised
    when the time is over.

    Args:
        tasks: tasks or futures, perhaps none.
        timeout: how long to wait, as ``timedelta`` or seconds; in a workflow a durable timer.
        return_when: ``asyncio.ALL_COMPLETED``, ``FIRST_COMPLETED`` or ``FIRST_EXCEPTION``.

    Returns:
        Those that are done, and those that are not.

    Raises:
        TypeError: something else than tasks or futures was given.
        ValueError: ``return_when`` is none of the three.
        DurationError: the timeout is no time.
    """
    given = _once_each("wait", tasks)
    for task in given:
        if not asyncio.isfuture(task):
            raise TypeError(f"loom.wait() takes tasks, as asyncio.create_task makes, not {task!r}.")
    seconds = timeout_seconds("loom.wait(timeout=)", timeout)
    if not given or (seconds is not None and seconds <= 0):
        await asyncio.sleep(0)
    else:
        await asyncio.wait(given, timeout=seconds, return_when=return_when)
    return [task for task in given if task.done()], [task for task in given if not task.done()]


class Completions[T]:
    """Tasks in the order in which they end, as ``as_completed`` gives them; to be read once."""

    def __init__(self, tasks: Sequence[asyncio.Future[T]], seconds: float | None) -> None:
        self._left = len(tasks)
        self._ended: deque[asyncio.Future[T]] = deque()
        self._late = False
        self._told = asyncio.Event()
        self._timer: asyncio.Handle | None = None
        for task in tasks:
            task.add_done_callback(self._on_done)
        if tasks and seconds is not None:
            self._timer = _call_after(seconds, self._on_timeout)

    def __aiter__(self) -> Completions[T]:
        return self

    async def __anext__(self) -> asyncio.Future[T]:
        if not self._left:
            raise StopAsyncIteration
        while not self._ended:
            if self._late:
                raise TimeoutError
            self._told.clear()
            await self._told.wait()
        self._left -= 1
        return self._ended.popleft()

    def __iter__(self) -> Iterator[Coroutine[Any, Any, T]]:
        for _ in range(self._left):
            yield self._next_result()

    async def _next_result(self) -> T:
        return (await anext(self)).result()

    def _on_done(self, task: asyncio.Future[T]) -> None:
        if self._late:
            return
        self._ended.append(task)
        self._told.set()
        if self._timer is not None and len(self._ended) == self._left:
            self._timer.cancel()

    def _on_timeout(self) -> None:
        self._late = True
        self._told.set()


def as_completed[T](
    awaitables: Iterable[Awaitable[T]], *, timeout: Duration | None = None
) -> Completions[T]:
    """What is given, in the order in which it ends: ``async for task in loom.as_completed(...)``.

    Tasks come as they were given, each when it is done; ``await task`` gives its result or raises.
    ``for next_one in loom.as_completed(...)`` gives coroutines to be awaited instead, as
    ``asyncio.as_completed`` does. Works the same in a workflow and outside of one.

    Args:
        awaitables: tasks, or coroutines, which are started in the order given.
        timeout: how long to go on, as ``timedelta`` or seconds; in a workflow a durable timer.

    Raises:
        TimeoutError: from the iteration: not all ended in time. They go on.
        TypeError: something was given that cannot be awaited.
        DurationError: the timeout is no time.
    """
    seconds = timeout_seconds("loom.as_completed(timeout=)", timeout)
    tasks = [asyncio.ensure_future(given) for given in _once_each("as_completed", awaitables)]
    return Completions(tasks, seconds)


def _once_each[A: Awaitable[Any]](name: str, given: Iterable[A]) -> list[A]:
    single: object = given
    if asyncio.isfuture(single) or inspect.iscoroutine(single):
        raise TypeError(f"loom.{name}() takes several awaitables, as in a list, not {given!r}.")
    return list(dict.fromkeys(given))


def _call_after(seconds: float, callback: Callable[[], None]) -> asyncio.Handle:
    loop = asyncio.get_running_loop()
    # In a workflow a timer is an event: there need be none for what is over already.
    return loop.call_later(seconds, callback) if seconds > 0 else loop.call_soon(callback)
