"""A store whose calls can be watched and made to go wrong, whichever database is behind it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum
from itertools import count
from typing import Any

import loom
from loom.errors import StoreUnavailableError
from loom.storage.repository import LeaseRepository
from loom.storage.store import Store
from loom.testing.processes import InterceptedRepository

type Call = Callable[[], Awaitable[Any]]

READS = frozenset(
    {
        "current_time",
        "read_history",
        "read_beginnings",
        "read_logs",
        "find_run",
        "find_answer",
        "list_runs",
        "list_tasks",
        "list_messages",
        "count_runs",
        "read_labels",
    }
)


class Interceptor:
    """Stands between the runner and the store. This one lets everything through."""

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        return await call()


class WatchedStore(Store):
    def __init__(self, inner: Store, intercept: Interceptor) -> None:
        self._inner = inner
        self._intercept = intercept
        self.repository = InterceptedRepository(inner.repository, intercept)
        self.notifier = inner.notifier

    @asynccontextmanager
    async def lease_repository(self) -> AsyncIterator[LeaseRepository]:
        # Renewals run on another thread, at moments that no test can count on.
        async with self._inner.lease_repository() as repository:
            yield repository

    async def close(self) -> None:
        await self._inner.close()


@asynccontextmanager
async def watched_app(
    dsn: str, intercept: Interceptor, **settings: Any
) -> AsyncIterator[loom.Loom]:
    """An open application whose calls to the store go through an interceptor."""

    class Watched(loom.Loom):
        async def _open_store(self) -> Store:
            return WatchedStore(await super()._open_store(), intercept)

    async with Watched(dsn, settings=loom.Settings(**settings)) as app:
        yield app


class Counting(Interceptor):
    """Counts calls, and what went through them."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.rows_read = 0
        self.events_written = 0

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        answer = await call()
        if method.startswith("claim_") and not answer.tasks:
            return answer  # a look that found nothing writes nothing
        self.calls[method] += 1
        if method in ("read_history", "read_logs"):
            self.rows_read += len(answer)
        if method in ("start_runs", "write_transitions"):
            self.events_written += sum(len(item.effects.events) for item in arguments[0])
        return answer

    @property
    def commits(self) -> int:
        return sum(count for method, count in self.calls.items() if method not in READS)


OUTAGE_LENGTH = 8
"""In calls."""


class Fault(Enum):
    """How a call goes wrong."""

    BEFORE = "raises before anything is done"
    AFTER = "is done, and its answer is lost"
    TWICE = "is done twice, and answers as the second time"
    SLOW = "is done after others had time to act"
    OUTAGE = "finds nobody there, and so do the next ones"
    CRASH = "is done, and nothing of this process ever is again"


class Faulty(Interceptor):
    """Makes the n-th call that is no read go wrong."""

    def __init__(self, fault: Fault, n: int) -> None:
        self._fault = fault
        self._left = n
        self.struck = asyncio.Event()

    @property
    def has_crashed(self) -> bool:
        return self._fault is Fault.CRASH and self.struck.is_set()

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        if self.has_crashed:
            raise _unavailable()
        if method in READS:
            return await call()
        self._left -= 1
        lasts = OUTAGE_LENGTH if self._fault is Fault.OUTAGE else 1
        if not -lasts < self._left <= 0:
            return await call()
        self.struck.set()
        return await self._go_wrong(call)

    async def _go_wrong(self, call: Call) -> Any:
        match self._fault:
            case Fault.BEFORE | Fault.OUTAGE:
                raise _unavailable()
            case Fault.AFTER | Fault.CRASH:
                await call()
                raise _unavailable()
            case Fault.TWICE:
                await call()
                return await call()
            case Fault.SLOW:
                await asyncio.sleep(0.02)
                return await call()


AT_ONCE = 4
"""Trials of a sweep. They mostly wait for leases to end."""


async def sweep(trial: Callable[[int], Awaitable[bool]], first: int = 1, stride: int = 1) -> None:
    """Try with the first call, then with the next ones, until a trial says that none was struck."""
    numbers = count(first, stride)
    is_over = False

    async def go_on() -> None:
        nonlocal is_over
        while not is_over:
            n = next(numbers)
            try:
                is_over |= not await trial(n)
            except Exception as error:
                error.add_note(f"call {n}")
                raise

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(go_on())


class Outage(Interceptor):
    """A store that cannot be reached while ``down`` is set."""

    def __init__(self) -> None:
        self.down = False
        self.refused = 0

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        if self.down:
            self.refused += 1
            await asyncio.sleep(0)
            raise _unavailable()
        return await call()


class Deaf(Interceptor):
    """Loses the first answer to one method."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._calls = 0
        self.asked_again = asyncio.Event()

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        answer = await call()
        if method == self._method:
            self._calls += 1
            if self._calls == 1:
                raise _unavailable()
            self.asked_again.set()
        return answer


class LateAnswer(Interceptor):
    """Does one method's calls, and holds back the answers until they may be heard."""

    def __init__(self, method: str) -> None:
        self._method = method
        self.is_done = asyncio.Event()
        self.may_be_heard = asyncio.Event()

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        answer = await call()
        if method == self._method:
            self.is_done.set()
            await self.may_be_heard.wait()
        return answer


class Gate(Interceptor):
    """Holds one method's calls until it is opened."""

    def __init__(self, method: str) -> None:
        self._method = method
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        if method == self._method and not self.open.is_set():
            self.waiting += 1
            await self.open.wait()
        return await call()


def _unavailable() -> StoreUnavailableError:
    return StoreUnavailableError("the test has pulled the plug")
