"""A cheap call, run in the middle of the workflow's own turn: recorded, but never queued."""

import asyncio

import loom


@loom.activity
async def compose_greeting(greeting: str, name: str) -> str:
    return f"{greeting}, {name}!"


@loom.workflow
class Greeting(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        return await ctx.local_activity(compose_greeting, "Hello", ctx.input)


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Greeting], activities=[compose_greeting]):
            handle = await app.start(Greeting, "World", id="hello-local-activity")
            print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
