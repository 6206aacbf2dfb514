"""A cancelled run gets ``CancelledError`` where it waits, and may clean up with activities."""

import asyncio

import loom


@loom.activity
async def never_complete() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        print("the activity was cancelled, too")


@loom.activity
async def clean_up() -> None:
    print("cleaned up")


@loom.workflow
class Cancelled(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> None:
        try:
            await ctx.activity(never_complete)
        finally:
            await ctx.activity(clean_up)


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Cancelled], activities=[never_complete, clean_up]):
            handle = await app.start(Cancelled, id="hello-cancellation")
            await handle.cancel(reason="enough of it")
            try:
                await handle.result()
            except loom.WorkflowCancelledError as error:
                print(error)


if __name__ == "__main__":
    asyncio.run(main())
