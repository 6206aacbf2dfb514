"""Workflows whose recorded histories must replay for ever.

Change nothing here: a workflow that must be different is a new one, with a new history.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from pydantic import BaseModel

import loom

# --- activities ----------------------------------------------------------------------------------


@loom.activity
async def reserve(sku: str, count: int = 1) -> str:
    return f"{sku} x {count}"


@loom.activity(name="charge card", retry_count=3, timeout_seconds=30)
def charge(order_id: str, cents: int) -> bool:
    return True


@loom.activity
def release(sku: str) -> None: ...


@loom.activity
def measure(number: int) -> float:
    return number / 2


# --- steps, one after the other ------------------------------------------------------------------


class OrderInput(TypedDict):
    order_id: str
    skus: list[str]


class OrderState(TypedDict, total=False):
    reserved: list[str]
    paid: bool


@loom.workflow(name="OrderProcessing", version="1.0.0")
class OrderWorkflow(loom.Workflow[OrderInput, OrderState]):
    @loom.step(name="reservation")
    async def reserve(self, ctx: loom.WorkflowContext[OrderInput, OrderState]) -> None:
        reserved = [await ctx.activity(reserve, sku, count=2) for sku in ctx.input["skus"]]
        await ctx.state.set("reserved", reserved)

    @loom.step(name="payment")
    async def pay(self, ctx: loom.WorkflowContext[OrderInput, OrderState]) -> None:
        paid = await ctx.activity(charge, ctx.input["order_id"], 1999)
        await ctx.state.set("paid", paid)
        ctx.logger.info("paid: %s", paid)
        await ctx.sleep(timedelta(seconds=5))


# --- many at once --------------------------------------------------------------------------------


@loom.workflow
class FanOut(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> float:
        slots = asyncio.Semaphore(3)

        async def one(number: int) -> float:
            async with slots:
                return await ctx.activity(measure, number)

        gathered = await asyncio.gather(*map(one, range(ctx.input)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(ctx.input, 2 * ctx.input)]
        return sum(gathered) + sum(task.result() for task in tasks)


# --- time ----------------------------------------------------------------------------------------


@loom.workflow
class Timers(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> list[str]:
        trace = []
        await asyncio.sleep(1.5)
        await ctx.sleep(until=ctx.now() + timedelta(hours=1))
        try:
            async with asyncio.timeout(10):
                await ctx.activity(release, "slow")
        except TimeoutError:
            trace.append("the activity was too slow")
        async with asyncio.timeout(10):
            await ctx.activity(release, "fast")
        try:
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                for number in range(10):
                    group.create_task(ctx.activity(measure, number))
                group.create_task(ctx.sleep(60))
        except TimeoutError:
            trace.append("so was the group")
        first, waiting = await asyncio.wait(
            [asyncio.create_task(ctx.sleep(seconds)) for seconds in (3, 1, 2)],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for task in waiting:
            task.cancel()
        return [*trace, f"{len(first)} first"]


# --- signals -------------------------------------------------------------------------------------


@dataclass
class Approval:
    by: str
    granted: bool = True


@loom.workflow
class Signals(loom.Workflow[str, dict[str, Any]]):
    async def run(self, ctx: loom.WorkflowContext[str, dict[str, Any]]) -> str:
        approval = await ctx.wait_for_signal("approval", type=Approval)
        both = await asyncio.gather(ctx.wait_for_signal("item"), ctx.wait_for_signal("item"))
        try:
            last = await ctx.wait_for_signal("item", timeout=timedelta(minutes=1))
        except TimeoutError:
            last = "none"
        early = await ctx.wait_for_signal("early", timeout=1)
        return f"{ctx.input}: {approval.by} {both} {last} {early}"


# --- state of all kinds --------------------------------------------------------------------------


class Account(BaseModel):
    owner: str = "nobody"
    balance: int = 0
    entries: list[int] = []


@dataclass
class Score:
    player: str
    points: int = 0
    tags: set[str] = field(default_factory=set)


@loom.workflow
class ModelState(loom.Workflow[None, Account]):
    @loom.step
    async def open(self, ctx: loom.WorkflowContext[None, Account]) -> None:
        await ctx.state.set("owner", "Ada")
        async with ctx.state.batch():
            await ctx.state.set("balance", ctx.state.balance + 5)
            await ctx.state.set("entries", [5])

    @loom.step
    async def book(self, ctx: loom.WorkflowContext[None, Account]) -> None:
        await ctx.activity(release, ctx.state.owner)
        await ctx.state.update(lambda account: account.model_copy(update={"balance": 7}))


@loom.workflow
class DataclassState(loom.Workflow[str, Score]):
    @loom.step
    async def play(self, ctx: loom.WorkflowContext[str, Score]) -> None:
        await ctx.state.set("player", ctx.input)

        def score(state: Score) -> None:
            state.points += 3
            state.tags.add("first")

        await ctx.state.update(score)
        await ctx.activity(release, "round")
        await ctx.state.update(score)


@loom.workflow
class FreeState(loom.Workflow[None, dict[str, Any]]):
    @loom.step
    async def fill(self, ctx: loom.WorkflowContext[None, dict[str, Any]]) -> None:
        await ctx.state.set("started", ctx.now())
        await ctx.state.set("chance", [ctx.random.random(), str(ctx.uuid4())])
        await ctx.state.update(lambda state: {"kept": state["chance"], "b": 1})
        await ctx.activity(release, "x")
        await ctx.state.set("chance", ctx.random.randrange(100))


# --- failures ------------------------------------------------------------------------------------


@loom.workflow
class Caught(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> list[str]:
        problems = []
        for _ in range(3):
            try:
                await ctx.activity(charge, "A-1", 5)
            except loom.ActivityTimeoutError:
                problems.append("time")
            except loom.ActivityLostError:
                problems.append("lost")
            except loom.ActivityFailedError as error:
                problems.append(f"{error.cause_type} after {error.attempts}")
        return problems


@loom.workflow
class Failing(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> None:
        if ctx.input == "group":
            async with asyncio.TaskGroup() as group:
                for number in range(12):
                    group.create_task(ctx.activity(measure, number))
        await ctx.activity(release, "x")
        raise ValueError("the workflow's own fault")


# --- the end from outside ------------------------------------------------------------------------


@loom.workflow
class CleanedUp(loom.Workflow[None, OrderState]):
    async def run(self, ctx: loom.WorkflowContext[None, OrderState]) -> str:
        sku = await ctx.activity(reserve, "A")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.sleep(3600))
                group.create_task(ctx.activity(charge, "A-1", 1))
                group.create_task(ctx.wait_for_signal("never", timeout=60))
        except asyncio.CancelledError:
            async with asyncio.timeout(30):
                await ctx.activity(release, sku)
            await ctx.state.set("paid", False)
            raise
        return "not cancelled"


@loom.workflow
class Stubborn(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> str:
        try:
            await ctx.sleep(60)
        except asyncio.CancelledError as error:
            return f"went on after: {error}"
        return "slept"


@loom.workflow
class Waiting(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> None:
        background = asyncio.create_task(ctx.activity(measure, 1))
        await ctx.wait_for_signal("never")
        await background


# --- what is computed once ------------------------------------------------------------------------


def broken() -> int:
    raise OSError("no such setting")


def score() -> Score:
    return Score("Ada", 3, {"first"})


@loom.workflow
class SideEffects(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> list[Any]:
        found: list[Any] = [ctx.side_effect(lambda: [1, 2.5, "three"])]
        try:
            ctx.side_effect(broken)
        except loom.SideEffectFailedError as error:
            found.append(error.cause_type)
        await ctx.activity(release, "x")
        return [*found, ctx.side_effect(score).points, ctx.side_effect(lambda: 7, type=int)]


# --- sagas ---------------------------------------------------------------------------------------


@loom.workflow
class Saga(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        async with ctx.saga() as saga:
            for sku in "AB":
                saga.compensate(release, sku)
                await ctx.activity(reserve, sku, count=2)
            await ctx.activity(charge, "A-1", cents=5)
        return "kept"


# --- changes of the code -------------------------------------------------------------------------


@loom.workflow
class Patched(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> list[Any]:
        reserved = [
            await ctx.activity(reserve, sku) for sku in "AB" if ctx.patched("one at a time")
        ]
        ctx.deprecate_patch("no checks")
        return [*reserved, ctx.patched("late")]


# --- what a run is found by ----------------------------------------------------------------------


@loom.workflow
class Tagged(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> list[Any]:
        ctx.set_tags({"stage": "releasing", "due": datetime(2026, 5, 1, tzinfo=UTC), "old": None})
        await ctx.activity(release, "x")
        ctx.set_tags({"total": 7.5, "stage": "released"})
        return [ctx.memo, sorted(ctx.tags)]


@loom.workflow
class Family(loom.Workflow[None, Any]):
    """Children that complete, fail, are cancelled, and one that is left alone."""

    async def run(self, ctx: loom.WorkflowContext[None, Any]) -> list[Any]:
        alone = await ctx.start_child(Waiting, id="alone", parent_close_policy="abandon")
        first, second = await asyncio.gather(
            ctx.child("Measured", {"n": 1}, version="2"), ctx.child("Measured", {"n": 2})
        )
        await alone.signal("news", [first, second])
        try:
            await ctx.child("Measured", {"n": 3}, queue="elsewhere")
        except loom.ChildWorkflowFailedError as error:
            await ctx.signal_workflow("ledger", "failed", error.cause_message)
        try:
            async with asyncio.timeout(5):
                await ctx.child("Slow", None, parent_close_policy="cancel")
        except TimeoutError:
            await ctx.cancel_workflow("ledger", reason="too slow")
        await alone.cancel(reason="no news")
        return [first, second]


@loom.workflow
class FamilyWithOptions(loom.Workflow[None, Any]):
    """A child that is started with all that a start may have."""

    async def run(self, ctx: loom.WorkflowContext[None, Any]) -> Any:
        return await ctx.child(
            "Measured",
            {"n": 1},
            run_timeout=60,
            execution_timeout=timedelta(hours=1),
            retry=loom.RetryPolicy(maximum_attempts=3, non_retryable=(ValueError, "Refused")),
            memo={"by": "Ada"},
            tags={"stage": "first", "size": 3},
        )


@loom.workflow
class Chained(loom.Workflow[int, dict[str, Any]]):
    """Adds up so many items, and leaves the rest to the next run."""

    async def run(self, ctx: loom.WorkflowContext[int, dict[str, Any]]) -> None:
        for _ in range(ctx.input):
            total = ctx.state.get("total", 0) + await ctx.wait_for_signal("item", type=int)
            await ctx.state.set("total", total)
        await ctx.wait_for_signal("go on")
        ctx.continue_as_new(ctx.input + 1)


# --- handlers ------------------------------------------------------------------------------------


@loom.workflow
class Desk(loom.Workflow[str, dict[str, int]]):
    def __init__(self) -> None:
        self.orders: list[str] = []
        self.open = True

    async def run(self, ctx: loom.WorkflowContext[str, dict[str, int]]) -> str:
        await ctx.wait_until(lambda: not self.open)
        return f"{self.ctx.input}: {self.orders}"

    @loom.signal
    def close(self) -> None:
        self.open = False

    @loom.signal(name="note")
    async def write(self, text: str, urgent: bool = False) -> None:
        if urgent:
            await self.ctx.sleep(2)
        self.orders.append(text)

    @loom.signal(dynamic=True)
    def other(self, name: str, payload: Any) -> None: ...

    @loom.update
    async def order(self, sku: str, count: int = 1) -> int:
        self.orders.append(await self.ctx.activity(reserve, sku, count))
        await self.ctx.state.set("count", len(self.orders))
        return len(self.orders)

    @order.validator
    def check_order(self, sku: str, count: int = 1) -> None:
        if count < 1:
            raise ValueError("nothing ordered")

    @loom.update
    def refuse(self) -> None:
        raise LookupError("always")


@loom.workflow
class QuietDesk(loom.Workflow[None, None]):
    def __init__(self) -> None:
        self.names: list[str] = []

    async def run(self, ctx: loom.WorkflowContext[None, None]) -> list[str]:
        await ctx.sleep(10)
        await ctx.wait_until(lambda: len(self.names) == 2)
        return self.names

    @loom.signal(unfinished="abandon")
    async def watch(self) -> None:
        await self.ctx.wait_for_signal("never")

    @loom.update(name="enter")
    async def enter(self, name: str) -> str:
        self.names.append(name)
        await asyncio.sleep(1)
        return name.upper()


# --- options of activities -----------------------------------------------------------------------


@loom.activity(queue="gpu", schedule_to_start_timeout=5, schedule_to_close_timeout=60)
def draw(picture: str) -> str:
    return picture


@loom.workflow
class HeldToTime(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> list[str]:
        policy = loom.RetryPolicy(maximum_attempts=2, non_retryable=(KeyError, "Declined"))
        call = loom.with_options(
            charge, retry=policy, start_to_close_timeout=3, heartbeat_timeout=1.5
        )
        told: list[str] = []
        try:
            await ctx.activity(call, "A-1", 5)
        except loom.ActivityFailedError as error:
            told.append(str(error.details["code"]))
        for _ in range(2):
            try:
                told.append(await ctx.activity(draw, "cat"))
            except loom.ActivityTimeoutError as error:
                told.append(str(error.timeout))
        return told


@loom.workflow
class Local(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> float:
        both = await asyncio.gather(
            ctx.local_activity(measure, 3), ctx.activity(measure, 4), return_exceptions=True
        )
        slow = asyncio.create_task(ctx.local_activity(reserve, "A"))
        await ctx.sleep(1)
        slow.cancel()
        return sum(result for result in both if isinstance(result, float))


WORKFLOWS = [
    HeldToTime,
    Local,
    OrderWorkflow,
    FanOut,
    Timers,
    Signals,
    ModelState,
    DataclassState,
    FreeState,
    Caught,
    Failing,
    CleanedUp,
    Stubborn,
    Waiting,
    Desk,
    QuietDesk,
    SideEffects,
    Patched,
    Saga,
    Tagged,
    Family,
    FamilyWithOptions,
    Chained,
]
