"""A workflow that starts another one and waits for its result."""

import asyncio

import loom


@loom.workflow
class ComposeGreeting(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        return f"Hello, {ctx.input}!"


@loom.workflow
class Greeting(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        return await ctx.child(ComposeGreeting, ctx.input, id="hello-child-greeting")


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Greeting, ComposeGreeting]):
            handle = await app.start(Greeting, "World", id="hello-child")
            print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
