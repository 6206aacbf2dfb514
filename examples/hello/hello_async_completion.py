"""An activity that somebody else completes: a person, a webhook, another system.

Its function only hands out a token. No worker, thread or lease waits for the answer.
"""

import asyncio

import loom

tokens: asyncio.Queue[str] = asyncio.Queue()


@loom.activity
async def ask_a_person(question: str) -> str:
    await tokens.put(loom.activity_info().task_token)
    raise loom.CompleteLater


@loom.workflow
class Approval(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        return await ctx.activity(ask_a_person, ctx.input)


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Approval], activities=[ask_a_person]):
            handle = await app.start(Approval, "May I?", id="hello-async-completion")
            await app.complete_activity(await tokens.get(), "You may.")
            print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
