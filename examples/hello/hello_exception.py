"""An activity's error reaches the workflow, and what the workflow does not catch, its caller.

Errors travel as text: the caller may be another process, which need not have the class.
"""

import asyncio
from datetime import timedelta

import loom

TWICE = loom.RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=10))


@loom.activity(retry=TWICE)
async def compose_greeting(name: str) -> str:
    raise ValueError(f"cannot greet {name}")


@loom.workflow
class Failing(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        try:
            return await ctx.activity(compose_greeting, ctx.input)
        except loom.ActivityFailedError as error:
            raise RuntimeError(f"gave up after {error.attempts} attempts") from error


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Failing], activities=[compose_greeting]):
            handle = await app.start(Failing, "World", id="hello-exception")
            try:
                await handle.result()
            except loom.WorkflowFailedError as error:
                print(f"{error.cause_type}: {error.cause_message}")
                # The whole chain of causes is in the text of the traceback.
                print("ValueError: cannot greet World" in error.cause_traceback)


if __name__ == "__main__":
    asyncio.run(main())
