"""An activity that says how far it has come. The next attempt goes on from there.

A worker keeps its activities alive by itself: heartbeats are for their details, and for finding
out soon that one hangs.
"""

import asyncio
from datetime import timedelta

import loom

AT_ONCE = loom.RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=10))


@loom.activity(retry=AT_ONCE, heartbeat_timeout=5)
async def copy_files(count: int) -> str:
    info = loom.activity_info()
    first = info.heartbeat_details(type=int) or 0
    for number in range(first, count):
        if number == 3 and info.attempt == 1:
            raise ConnectionError("the network is gone")
        loom.heartbeat(number + 1)
    return f"attempt {info.attempt} copied {count - first} of {count}"


@loom.workflow
class Copying(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> str:
        return await ctx.activity(copy_files, ctx.input)


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Copying], activities=[copy_files]):
            handle = await app.start(Copying, 5, id="hello-heartbeat")
            print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
