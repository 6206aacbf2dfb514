"""An activity that is a plain function runs in a thread, so it may block."""

import asyncio
import threading
import time

import loom


@loom.activity
def fetch_slowly(name: str) -> str:
    time.sleep(0.1)
    assert threading.current_thread() is not threading.main_thread()
    return f"{name} from a thread"


@loom.workflow
class Threaded(loom.Workflow[list[str], None]):
    async def run(self, ctx: loom.WorkflowContext[list[str], None]) -> list[str]:
        fetches = [ctx.activity(fetch_slowly, name) for name in ctx.input]
        return list(await asyncio.gather(*fetches))


async def main() -> None:
    async with loom.Loom() as app:
        async with app.worker(workflows=[Threaded], activities=[fetch_slowly], concurrency=2):
            handle = await app.start(Threaded, ["one", "two"], id="hello-threaded")
            print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
