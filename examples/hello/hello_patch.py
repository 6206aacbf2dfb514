"""New code, old runs: each run goes on as it began.

``Before`` and ``After`` are the same workflow, before a deployment and after it.
"""

import asyncio

import loom


@loom.activity
async def greet_politely(name: str) -> str:
    return f"Good day, {name}."


@loom.activity
async def greet_warmly(name: str) -> str:
    return f"Hello, {name}!"


@loom.workflow(name="Greeting")
class Before(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        greeting = await ctx.activity(greet_politely, ctx.input)
        await ctx.wait_for_signal("go on")
        return greeting


@loom.workflow(name="Greeting")
class After(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        greet = greet_warmly if ctx.patched("warm greetings") else greet_politely
        greeting = await ctx.activity(greet, ctx.input)
        await ctx.wait_for_signal("go on")
        return greeting


async def main() -> None:
    activities = [greet_politely, greet_warmly]
    async with loom.Loom() as app:
        async with app.worker(workflows=[Before], activities=activities):
            old = await app.start(Before, "World", id="hello-patch-old")
        async with app.worker(workflows=[After], activities=activities):
            new = await app.start(After, "World", id="hello-patch-new")
            for handle in (old, new):
                await handle.signal("go on")
                print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
