"""What is left to the garbage collector of runs that have closed: nothing."""

import gc
from collections import Counter

import loom

RUNS = 30


@loom.activity
async def double(number: int) -> int:
    return 2 * number


@loom.activity
def half(number: int) -> int:
    return number // 2


@loom.workflow
class Both(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        return await ctx.activity(half, await ctx.activity(double, ctx.input))


async def test_what_a_closed_run_was_made_of_is_freed_without_the_collector(
    app: loom.Loom,
) -> None:
    async with app.worker(workflows=[Both], activities=[double, half]):
        await _results(app)  # what is made once is made now
        gc.collect()
        gc.disable()
        try:
            await _results(app)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
        finally:
            gc.set_debug(0)
            gc.enable()
        ours = [type(each) for each in gc.garbage if type(each).__module__.startswith("loom.")]
        gc.garbage.clear()
    assert not [cls for cls, count in Counter(ours).items() if count >= RUNS]


async def _results(app: loom.Loom) -> None:
    for number in range(RUNS):
        run = await app.start(Both, number)
        assert await run.result() == number
