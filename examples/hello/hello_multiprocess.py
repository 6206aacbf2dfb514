"""An activity that computes runs in a process of its own, where it holds up nobody."""

import asyncio
import os

import loom


@loom.activity(executor="process")
def add_up(limit: int) -> tuple[int, int]:
    return sum(range(limit)), os.getpid()


@loom.workflow
class Computing(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> tuple[int, int]:
        return await ctx.activity(add_up, ctx.input)


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Computing], activities=[add_up]):
            handle = await app.start(Computing, 1_000, id="hello-multiprocess")
            total, process = await handle.result()
            print(total, process != os.getpid())


if __name__ == "__main__":
    asyncio.run(main())
