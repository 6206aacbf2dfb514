"""Tags: what runs are found by. Set at the start, and by the workflow on its way."""

import asyncio

import loom


@loom.workflow
class Order(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> None:
        ctx.set_tags({"stage": "packing"})
        await ctx.wait_for_signal("packed")
        ctx.set_tags({"stage": "sent"})


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Order]):
            for number, customer in enumerate(["Ada", "Grace", "Ada"]):
                await app.start(Order, id=f"hello-tags-{number}", tags={"customer": customer})
            for run in await app.list(tags={"customer": "Ada", "stage": "packing"}):
                print(run.workflow_id, run.tags)
                await app.handle(run.workflow_id).signal("packed")
                await app.handle(run.workflow_id).result()
            print(await app.count(tags={"stage": "sent"}), "sent")


if __name__ == "__main__":
    asyncio.run(main())
