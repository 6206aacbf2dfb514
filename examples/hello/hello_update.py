"""An update changes a run and waits for the answer. What its validator refuses leaves no trace."""

import asyncio

import loom


@loom.workflow
class Counter(loom.Workflow[None, None]):
    def __init__(self) -> None:
        self.total = 0

    async def run(self, ctx: loom.WorkflowContext[None, None]) -> int:
        await ctx.wait_until(lambda: self.total >= 10)
        return self.total

    @loom.update
    def add(self, number: int) -> int:
        self.total += number
        return self.total

    @add.validator
    def check(self, number: int) -> None:
        if number < 1:
            raise ValueError(f"{number} is not positive")


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Counter]):
            handle = await app.start(Counter, id="hello-update")
            print(await handle.update(Counter.add, 4))
            try:
                await handle.update(Counter.add, -1)
            except loom.UpdateRejectedError as error:
                print("rejected:", error.cause_message)
            print(await handle.update(Counter.add, 6))
            print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
