"""Signals from outside, in the order in which they came. None is lost, whoever runs meanwhile."""

import asyncio

import loom


@loom.workflow
class Greeter(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> list[str]:
        greetings = []
        while (name := await ctx.wait_for_signal("greet", type=str)) != "nobody":
            greetings.append(f"Hello, {name}")
        return greetings


async def main() -> None:
    async with loom.Loom() as app:
        handle = await app.start(Greeter, id="hello-signal")
        # Nobody works on the run yet: its signals wait for it.
        await handle.signal("greet", "Ada")
        async with app.worker(workflows=[Greeter]):
            await handle.signal("greet", "Grace")
            await handle.signal("greet", "nobody")
            print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
