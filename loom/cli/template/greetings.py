"""A first workflow. Run it with `python greetings.py Ada`.

Kill it while it sleeps and run it again: it goes on where it was, and greets nobody twice.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

import loom


@loom.activity(retry_count=3)
async def greet(name: str) -> str:
    """Whatever touches the outside world is an activity: its result is recorded."""
    print(f"Greeting {name} ...")
    return f"Hello, {name}!"


@loom.workflow
class Greeting(loom.Workflow[str, None]):
    """The code in here survives a crash at any moment."""

    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        hello = await ctx.activity(greet, ctx.input)
        ctx.logger.info("said: %s", hello)
        await ctx.sleep(timedelta(seconds=5))
        return f"{hello} And goodbye."


async def main(name: str) -> None:
    """Run one greeting, with the worker in this same process."""
    async with loom.Loom() as app, app.worker(workflows=[Greeting], activities=[greet]):
        handle = await app.start(Greeting, name, id=f"greeting-{name}")
        print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "world"))
