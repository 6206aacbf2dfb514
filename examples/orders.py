# examples/orders.py
import asyncio
from datetime import timedelta
from typing import TypedDict

import loom


class OrderInput(TypedDict):
    order_id: str


class OrderState(TypedDict):
    paid: bool


@loom.activity(name="process_payment", retry_count=3, timeout_seconds=30)
async def process_payment(order_id: str) -> bool:
    print(f"charging for {order_id}")
    return True


@loom.workflow(name="OrderProcessing", version="1.0.0")
class OrderWorkflow(loom.Workflow[OrderInput, OrderState]):
    @loom.step(name="payment")
    async def payment(self, ctx: loom.WorkflowContext[OrderInput, OrderState]) -> None:
        paid = await ctx.activity(process_payment, ctx.input["order_id"])
        await ctx.state.set("paid", paid)
        ctx.logger.info("paid: %s", paid)
        await ctx.sleep(timedelta(seconds=5))


async def main() -> None:
    async with loom.Loom("sqlite:///loom.db") as app:  # or LOOM_DSN, or nothing: ./workflows.db
        async with app.worker(workflows=[OrderWorkflow], activities=[process_payment]):
            handle = await app.start(OrderWorkflow, {"order_id": "A-1"}, id="order-A-1")
            print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
