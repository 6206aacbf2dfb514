"""Activities in parallel, with ``asyncio.gather`` as always. Replay cannot reorder them."""

import asyncio

import loom


@loom.activity
async def say_hello(name: str) -> str:
    return f"Hello, {name}!"


@loom.workflow
class Parallel(loom.Workflow[list[str], None]):
    async def run(self, ctx: loom.WorkflowContext[list[str], None]) -> list[str]:
        greetings = await asyncio.gather(*(ctx.activity(say_hello, name) for name in ctx.input))
        return sorted(greetings)


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Parallel], activities=[say_hello]):
            names = ["Ada", "Barbara", "Grace", "Katherine", "Margaret"]
            handle = await app.start(Parallel, names, id="hello-parallel")
            print(*await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
