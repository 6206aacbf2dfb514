"""A query reads a run's state at any time, also when it has ended, and writes nothing."""

import asyncio

import loom


@loom.workflow
class Greeting(loom.Workflow[str, None]):
    def __init__(self) -> None:
        self.current = ""

    async def run(self, ctx: loom.WorkflowContext[str, None]) -> None:
        self.current = f"Hello, {ctx.input}!"
        await ctx.wait_for_signal("leave")
        self.current = f"Goodbye, {ctx.input}!"

    @loom.query
    def greeting(self) -> str:
        return self.current


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Greeting]):
            handle = await app.start(Greeting, "World", id="hello-query")
            print(await handle.query(Greeting.greeting))
            await handle.signal("leave")
            await handle.result()
            print(await handle.query(Greeting.greeting))


if __name__ == "__main__":
    asyncio.run(main())
