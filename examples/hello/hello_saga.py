"""What was done is undone in reverse, when a later step fails; also after a crash half-way."""

import asyncio

import loom


@loom.activity
async def book(what: str) -> None:
    if what == "flight":
        raise RuntimeError("the flight is full")
    print(f"booked a {what}")


@loom.activity
async def cancel(what: str) -> None:
    print(f"cancelled the {what}")


@loom.workflow
class Trip(loom.Workflow[list[str], None]):
    async def run(self, ctx: loom.WorkflowContext[list[str], None]) -> None:
        async with ctx.saga() as saga:
            for what in ctx.input:
                await ctx.activity(book, what)
                saga.compensate(cancel, what)


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Trip], activities=[book, cancel]):
            handle = await app.start(Trip, ["hotel", "car", "flight"], id="hello-saga")
            try:
                await handle.result()
            except loom.WorkflowFailedError as error:
                print(error.cause_type)


if __name__ == "__main__":
    asyncio.run(main())
