"""A workflow that goes on for ever begins a new history before the old one grows too long."""

import asyncio

import loom


@loom.workflow
class Countdown(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> str:
        print(f"{ctx.input} to go")
        if ctx.input > 0:
            await ctx.sleep(0.01)
            ctx.continue_as_new(ctx.input - 1)
        return "lift-off"


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Countdown]):
            handle = await app.start(Countdown, 3, id="hello-continue-as-new")
            print(await handle.result())
            print(len(await app.list(id="hello-continue-as-new")), "runs")


if __name__ == "__main__":
    asyncio.run(main())
