"""What the type checkers shall see of decorated code. Read by them, and never run."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from pydantic import BaseModel

import loom


class OrderInput(TypedDict):
    order_id: str


class OrderState(TypedDict, total=False):
    paid: bool


@dataclass
class Receipt:
    cents: int


class Report(BaseModel):
    lines: list[str]


@loom.activity
async def charge(order_id: str, cents: int = 0, *, dry: bool = False) -> Receipt:
    return Receipt(cents)


@loom.activity(name="count", retry_count=3, timeout_seconds=30)
def count_words(text: str) -> int:
    return len(text.split())


@loom.activity(retry=loom.RetryPolicy(non_retryable=(ValueError, "KeyError")))
async def notify(*addresses: str, **headers: int) -> None: ...


@loom.workflow(name="OrderProcessing", version="1.0.0")
class Steps(loom.Workflow[OrderInput, OrderState]):
    @loom.step
    async def first(self, ctx: loom.WorkflowContext[OrderInput, OrderState]) -> None: ...

    @loom.step(name="payment")
    async def second(self, ctx: loom.WorkflowContext[OrderInput, OrderState]) -> None: ...


@loom.workflow
class Run(loom.Workflow[OrderInput, None]):
    async def run(self, ctx: loom.WorkflowContext[OrderInput, None]) -> Receipt:
        return await ctx.activity(charge, ctx.input["order_id"])


@loom.workflow
class ModelSteps(loom.Workflow[int, Report]):
    @loom.step
    async def only(self, ctx: loom.WorkflowContext[int, Report]) -> None: ...


@loom.workflow
class NoInput(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> list[int]:
        return [1]
