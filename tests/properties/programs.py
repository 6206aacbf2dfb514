"""Random workflow programs: small trees of what workflow code may do, and their interpreter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from loom.authoring.activity import activity
from loom.authoring.compiled import workflow
from loom.authoring.context import WorkflowContext
from loom.authoring.workflow import Workflow
from loom.errors import ActivityFailedError

type Ctx = WorkflowContext[Any, Any]
type Node = Leaf | Branch


@dataclass(frozen=True)
class Leaf:
    """One thing to do; ``number`` is a duration, a key or an argument."""

    kind: str
    number: int = 0


@dataclass(frozen=True)
class Branch:
    """Some things to do together, in the way that ``kind`` says."""

    kind: str
    nodes: tuple[Node, ...]
    number: int = 0


@activity
def work(number: int) -> int:
    return number


@activity
def clean_up(number: int) -> int:
    return number


# --- what leaves do ------------------------------------------------------------------------------


async def _activity(ctx: Ctx, number: int) -> Any:
    return await ctx.activity(work, number)


async def _careful_activity(ctx: Ctx, number: int) -> Any:
    try:
        return await ctx.activity(work, number)
    except ActivityFailedError as error:
        return error.cause_message


async def _sleep(ctx: Ctx, number: int) -> Any:
    await ctx.sleep(number)


async def _asyncio_sleep(ctx: Ctx, number: int) -> Any:
    return await asyncio.sleep(number, "slept")


async def _signal(ctx: Ctx, number: int) -> Any:
    return await ctx.wait_for_signal(f"signal-{number % 2}")


async def _impatient_signal(ctx: Ctx, number: int) -> Any:
    try:
        return await ctx.wait_for_signal(f"signal-{number % 2}", timeout=number)
    except TimeoutError:
        return "no signal"


async def _set(ctx: Ctx, number: int) -> Any:
    await ctx.state.set(f"key-{number % 3}", [number, ctx.random.random()])


async def _update(ctx: Ctx, number: int) -> Any:
    def change(state: Any) -> None:
        state.pop(f"key-{number % 3}", None)
        state["updated"] = state.get("updated", 0) + number

    await ctx.state.update(change)
    return ctx.state.get("updated")


async def _batch(ctx: Ctx, number: int) -> Any:
    async with ctx.state.batch():
        await ctx.state.set("batched", number)
        if number % 2:
            await ctx.activity(work, number)
        await ctx.state.set(f"key-{number % 3}", ctx.now().isoformat())


async def _log(ctx: Ctx, number: int) -> Any:
    ctx.logger.info("line %s of %s", number, ctx.uuid4())


async def _generator(ctx: Ctx, number: int) -> Any:
    async def numbers() -> Any:
        try:
            for n in range(3):
                yield await ctx.activity(work, n)
        finally:
            ctx.logger.info("generator ended")

    async for n in numbers():
        if n == number % 3:
            break
    return number


_LEAVES: dict[str, Callable[[Ctx, int], Awaitable[Any]]] = {
    "activity": _activity,
    "careful activity": _careful_activity,
    "sleep": _sleep,
    "asyncio sleep": _asyncio_sleep,
    "signal": _signal,
    "impatient signal": _impatient_signal,
    "set": _set,
    "update": _update,
    "batch": _batch,
    "log": _log,
    "generator": _generator,
}


# --- what branches do ----------------------------------------------------------------------------


async def _sequence(ctx: Ctx, branch: Branch) -> Any:
    return [await run_node(ctx, node) for node in branch.nodes]


async def _gather(ctx: Ctx, branch: Branch) -> Any:
    return await asyncio.gather(*(run_node(ctx, node) for node in branch.nodes))


async def _patient_gather(ctx: Ctx, branch: Branch) -> Any:
    waited = (run_node(ctx, node) for node in branch.nodes)
    return list(map(_shown, await asyncio.gather(*waited, return_exceptions=True)))


async def _group(ctx: Ctx, branch: Branch) -> Any:
    tasks: list[asyncio.Task[Any]] = []
    failures = 0
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(run_node(ctx, node)) for node in branch.nodes]
    except* ActivityFailedError as group_of_failures:
        failures = len(group_of_failures.exceptions)
    return [failures, *(_shown(_outcome(task)) for task in tasks)]


async def _timeout(ctx: Ctx, branch: Branch) -> Any:
    try:
        async with asyncio.timeout(branch.number):
            return await _sequence(ctx, branch)
    except TimeoutError:
        return "too late"


async def _wait_for(ctx: Ctx, branch: Branch) -> Any:
    try:
        return await asyncio.wait_for(_sequence(ctx, branch), branch.number)
    except TimeoutError:
        return "too late"


async def _background(ctx: Ctx, branch: Branch) -> Any:
    task = asyncio.create_task(_sequence(ctx, branch))
    await asyncio.sleep(branch.number % 3)
    task.cancel()
    return _shown((await asyncio.gather(task, return_exceptions=True))[0])


async def _first_of(ctx: Ctx, branch: Branch) -> Any:
    tasks = [asyncio.create_task(run_node(ctx, node)) for node in branch.nodes]
    try:
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    for task in waiting:
        task.cancel()
    return [_shown(_outcome(task)) for task in done]


async def _finally(ctx: Ctx, branch: Branch) -> Any:
    try:
        return await _sequence(ctx, branch)
    finally:
        await ctx.activity(clean_up, branch.number)


async def _stubborn(ctx: Ctx, branch: Branch) -> Any:
    try:
        return await _sequence(ctx, branch)
    except asyncio.CancelledError:
        return ["cancelled", await _careful_activity(ctx, branch.number)]


_BRANCHES: dict[str, Callable[[Ctx, Branch], Awaitable[Any]]] = {
    "sequence": _sequence,
    "gather": _gather,
    "patient gather": _patient_gather,
    "group": _group,
    "timeout": _timeout,
    "wait for": _wait_for,
    "background": _background,
    "first of": _first_of,
    "finally": _finally,
    "stubborn": _stubborn,
}


def _outcome(task: asyncio.Task[Any]) -> Any:
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or task.result()


def _shown(outcome: Any) -> Any:
    return type(outcome).__name__ if isinstance(outcome, BaseException) else outcome


async def run_node(ctx: Ctx, node: Node) -> Any:
    if isinstance(node, Leaf):
        return await _LEAVES[node.kind](ctx, node.number)
    return await _BRANCHES[node.kind](ctx, node)


def workflow_for(program: Node) -> type[Workflow[Any, Any]]:
    @workflow(name="Random")
    class Random(Workflow[Any, Any]):
        async def run(self, ctx: Ctx) -> Any:
            return await run_node(ctx, program)

    return Random


_NUMBERS = st.integers(0, 6)


def programs() -> st.SearchStrategy[Node]:
    leaves: st.SearchStrategy[Node] = st.builds(Leaf, st.sampled_from(sorted(_LEAVES)), _NUMBERS)
    small = leaves | _branches(leaves, 3)
    return _branches(small | _branches(small, 3), 4)


def _branches(nodes: st.SearchStrategy[Node], most: int) -> st.SearchStrategy[Node]:
    some = st.lists(nodes, min_size=1, max_size=most).map(tuple)
    return st.builds(Branch, st.sampled_from(sorted(_BRANCHES)), some, _NUMBERS)
