"""Whole workflows through a store: what all its rules together are there for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

import loom

PATIENCE = 30.0
"""Seconds after which what has not happened will not happen."""

_SHORT = timedelta(milliseconds=20)
_RAN: list[str] = []
_BEGUN: dict[str, asyncio.Event] = {}


@loom.activity(name="conformance.double")
async def double(number: int) -> int:
    return 2 * number


@loom.activity(name="conformance.note")
async def note(what: str) -> None:
    _RAN.append(what)
    if what.startswith("first") and _RAN.count(what) == 1:
        # The attempt of a worker that dies meanwhile.
        _BEGUN[what].set()
        await asyncio.Event().wait()


@loom.workflow(name="conformance.Steps")
class Steps(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        number = ctx.input
        for _ in range(3):
            number = await ctx.activity(double, number)
        both = await asyncio.gather(ctx.activity(double, number), ctx.activity(double, 1))
        return sum(both)


@loom.workflow(name="conformance.Waits")
class Waits(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> list[str]:
        await ctx.sleep(_SHORT)
        return [await ctx.wait_for_signal("word", type=str) for _ in range(3)]


@loom.workflow(name="conformance.Parent")
class Parent(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        return 1 + int(await ctx.child(Steps, ctx.input))


@loom.workflow(name="conformance.Counts")
class Counts(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        if ctx.input < 3:
            ctx.continue_as_new(await ctx.activity(double, 1) + ctx.input - 1)
        return ctx.input


@loom.workflow(name="conformance.Survives")
class Survives(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        await ctx.activity(note, f"before {ctx.input}")
        await ctx.activity(note, f"first {ctx.input}")
        return ctx.input


@loom.workflow(name="conformance.Account")
class Account(loom.Workflow[None, None]):
    def __init__(self) -> None:
        self.balance = 0

    async def run(self, ctx: loom.WorkflowContext[None, None]) -> int:
        await ctx.wait_until(lambda: self.balance >= 10)
        return self.balance

    @loom.update
    async def pay(self, amount: int) -> int:
        self.balance += amount
        return self.balance


WORKFLOWS: list[type[Any]] = [Steps, Waits, Parent, Counts, Survives, Account]
ACTIVITIES: list[Callable[..., Any]] = [double, note]


class WorkflowsConformance:
    """Applications on the store. Override ``dsn``, which its installed entry point serves."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def dsn(self) -> str:
        """The DSN of the store under test, with nothing in it."""
        raise NotImplementedError("a conformance class needs its dsn fixture overridden")

    @pytest.fixture
    async def served(self, dsn: str) -> AsyncIterator[loom.Loom]:
        """An application with a worker."""
        async with (
            loom.Loom(dsn) as app,
            app.worker(workflows=WORKFLOWS, activities=ACTIVITIES),
        ):
            yield app

    async def test_activities_one_after_the_other_and_at_once(self, served: loom.Loom) -> None:
        handles = [await served.start(Steps, number) for number in range(20)]
        results = [await handle.result(PATIENCE) for handle in handles]
        assert results == [16 * number + 2 for number in range(20)]
        for handle in handles:
            types = [event.type for event in await handle.history()]
            assert types.count("ACTIVITY_COMPLETED") == 5

    async def test_signals_and_timers(self, served: loom.Loom) -> None:
        handle = await served.start(Waits)
        for word in ("a", "b", "b", "c"):
            await handle.signal("word", word, request_id=word)
        assert await handle.result(PATIENCE) == ["a", "b", "c"]

    async def test_children(self, served: loom.Loom) -> None:
        assert await (await served.start(Parent, 2)).result(PATIENCE) == 35

    async def test_continuing_as_new(self, served: loom.Loom) -> None:
        handle = await served.start(Counts, 0, id="counts")
        assert await handle.result(PATIENCE) == 3
        assert len(await served.list(id="counts")) == 4

    async def test_updates(self, served: loom.Loom) -> None:
        handle = await served.start(Account)
        assert await handle.with_request_id("first").update(Account.pay, 4) == 4
        assert await handle.with_request_id("first").update(Account.pay, 4) == 4
        assert await handle.update(Account.pay, 6) == 10
        assert await handle.result(PATIENCE) == 10

    async def test_ends_from_outside(self, served: loom.Loom) -> None:
        cancelled, terminated = await served.start(Waits), await served.start(Waits)
        await cancelled.cancel()
        await terminated.terminate(reason="enough")
        with pytest.raises(loom.WorkflowCancelledError):
            await cancelled.result(PATIENCE)
        with pytest.raises(loom.WorkflowTerminatedError):
            await terminated.result(PATIENCE)

    async def test_what_a_worker_that_dies_had_begun_is_taken_up_and_nothing_else(
        self, dsn: str
    ) -> None:
        settings = loom.Settings.load(lease_seconds=0.5, shutdown_grace_seconds=0)
        name = f"{dsn} {len(_RAN)}"
        begun = _BEGUN[f"first {name}"] = asyncio.Event()
        async with loom.Loom(dsn, settings=settings) as app:
            async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES) as worker:
                handle = await app.start(Survives, name)
                await asyncio.wait_for(begun.wait(), PATIENCE)
                # It tells nobody, and its leases run out.
                worker.abandon()
            async with app.worker(workflows=WORKFLOWS, activities=ACTIVITIES):
                assert await handle.result(PATIENCE) == name
        assert (_RAN.count(f"before {name}"), _RAN.count(f"first {name}")) == (1, 2)
