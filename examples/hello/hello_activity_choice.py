"""Which activities run is decided by ordinary code, from the run's input."""

import asyncio
from dataclasses import dataclass
from typing import Literal

import loom

type Fruit = Literal["apples", "bananas", "cherries"]


@dataclass
class Item:
    fruit: Fruit
    amount: int


@loom.activity
async def order_apples(amount: int) -> str:
    return f"{amount} apples"


@loom.activity
async def order_bananas(amount: int) -> str:
    return f"{amount} bananas"


@loom.activity
async def order_cherries(amount: int) -> str:
    return f"{amount} cherries"


ORDER = {"apples": order_apples, "bananas": order_bananas, "cherries": order_cherries}


@loom.workflow
class Purchase(loom.Workflow[list[Item], None]):
    async def run(self, ctx: loom.WorkflowContext[list[Item], None]) -> str:
        ordered = [await ctx.activity(ORDER[item.fruit], item.amount) for item in ctx.input]
        return "Ordered " + ", ".join(ordered)


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Purchase], activities=ORDER.values()):
            items = [Item("bananas", 5), Item("cherries", 12), Item("apples", 2)]
            handle = await app.start(Purchase, items, id="hello-activity-choice")
            print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
