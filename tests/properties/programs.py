"""Random workflow programs: small trees of what workflow code may do, and their interpreter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

import loom
from loom.authoring.activity import activity
from loom.authoring.compiled import workflow
from loom.authoring.context import WorkflowContext
from loom.authoring.workflow import Workflow
from loom.errors import ActivityFailedError, CompensationFailedError, SideEffectFailedError

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
def fail(number: int) -> int:
    raise ValueError(f"no {number}")


@activity
def clean_up(number: int) -> int:
    return number


# --- what leaves do ------------------------------------------------------------------------------


async def _activity(ctx: Ctx, number: int) -> Any:
    return await ctx.activity(work, number)


async def _failing_activity(ctx: Ctx, number: int) -> Any:
    return await ctx.activity(fail, number)


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


async def _wait_until(ctx: Ctx, number: int) -> Any:
    await ctx.wait_until(lambda: f"key-{number % 3}" in ctx.state)
    return ctx.state.get(f"key-{number % 3}")


async def _impatient_wait_until(ctx: Ctx, number: int) -> Any:
    try:
        await ctx.wait_until(lambda: ctx.history_length > 8 * number, timeout=number)
    except TimeoutError:
        return "not so many events"
    return ctx.history_length


async def _side_effect(ctx: Ctx, number: int) -> Any:
    length = ctx.history_length
    await ctx.state.set(f"key-{number % 3}", ctx.side_effect(lambda: length))


async def _careful_side_effect(ctx: Ctx, number: int) -> Any:
    try:
        return ctx.side_effect(lambda: 5 // (number % 2))
    except SideEffectFailedError as error:
        return error.cause_message


async def _patched(ctx: Ctx, number: int) -> Any:
    if ctx.patched(f"patch-{number % 3}"):
        return await ctx.activity(work, number)
    return "before"


async def _deprecated(ctx: Ctx, number: int) -> Any:
    ctx.deprecate_patch(f"patch-{number % 3}")


async def _asked_patch(ctx: Ctx, number: int) -> Any:
    ctx.patched(f"patch-{number % 3}")


async def _before_patch(ctx: Ctx, number: int) -> Any:
    return "before"


async def _nothing(ctx: Ctx, number: int) -> Any:
    return None


async def _cancelled(ctx: Ctx, number: int) -> Any:
    return [ctx.cancel_requested, ctx.cancel_reason, ctx.should_continue_as_new]


_LEAVES: dict[str, Callable[[Ctx, int], Awaitable[Any]]] = {
    "activity": _activity,
    "careful activity": _careful_activity,
    "failing activity": _failing_activity,
    "sleep": _sleep,
    "asyncio sleep": _asyncio_sleep,
    "signal": _signal,
    "impatient signal": _impatient_signal,
    "set": _set,
    "update": _update,
    "batch": _batch,
    "log": _log,
    "generator": _generator,
    "wait until": _wait_until,
    "impatient wait until": _impatient_wait_until,
    "side effect": _side_effect,
    "careful side effect": _careful_side_effect,
    "patched": _patched,
    "deprecated patch": _deprecated,
    "asked patch": _asked_patch,
    "before patch": _before_patch,
    "nothing": _nothing,
    "cancelled": _cancelled,
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


async def _wait(ctx: Ctx, branch: Branch) -> Any:
    tasks = [asyncio.create_task(run_node(ctx, node)) for node in branch.nodes]
    when = _RETURN_WHEN[branch.number % 3]
    try:
        done, waiting = await loom.wait(tasks, timeout=branch.number, return_when=when)
    except asyncio.CancelledError:
        _cancel(tasks)
        raise
    _cancel(waiting)
    return [len(done), *map(_shown, await asyncio.gather(*tasks, return_exceptions=True))]


async def _as_completed(ctx: Ctx, branch: Branch) -> Any:
    tasks = [asyncio.create_task(run_node(ctx, node)) for node in branch.nodes]
    timeout = branch.number if branch.number % 2 else None
    order: list[asyncio.Future[Any]] = []
    try:
        async for task in loom.as_completed(tasks, timeout=timeout):
            order.append(task)  # noqa: PERF401  # those that came before the time was over count
    except TimeoutError:
        await ctx.state.set("late", len(order))
    finally:
        _cancel(tasks)
    return [_shown(_outcome(task)) for task in order]


async def _shield(ctx: Ctx, branch: Branch) -> Any:
    inner = asyncio.create_task(_sequence(ctx, branch))
    try:
        async with asyncio.timeout(branch.number):
            return await asyncio.shield(inner)
    except TimeoutError:
        return _shown((await asyncio.gather(inner, return_exceptions=True))[0])


async def _saga(ctx: Ctx, branch: Branch) -> Any:
    done = []
    async with ctx.saga(on_error="stop" if branch.number % 2 else "continue") as saga:
        for number, node in enumerate(branch.nodes):
            saga.compensate(clean_up, number)
            done.append(await run_node(ctx, node))
    return done


async def _attempt(ctx: Ctx, branch: Branch) -> Any:
    try:
        return await _saga(ctx, branch)
    except ActivityFailedError as error:
        return error.cause_message


async def _caught_saga(ctx: Ctx, branch: Branch) -> Any:
    try:
        async with asyncio.timeout(branch.number):
            return await _saga(ctx, branch)
    except (TimeoutError, ActivityFailedError, CompensationFailedError) as error:
        return _shown(error)


_RETURN_WHEN = (asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED)


def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


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
    "wait": _wait,
    "as completed": _as_completed,
    "shield": _shield,
    "saga": _saga,
    "attempt": _attempt,
    "caught saga": _caught_saga,
}


def _outcome(task: asyncio.Future[Any]) -> Any:
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or task.result()


def _shown(outcome: Any) -> Any:
    return type(outcome).__name__ if isinstance(outcome, BaseException) else outcome


async def run_node(ctx: Ctx, node: Node) -> Any:
    if isinstance(node, Leaf):
        return await _LEAVES[node.kind](ctx, node.number)
    return await _BRANCHES[node.kind](ctx, node)


def changed(program: Node, kinds: Mapping[str, str]) -> Node:
    """The program with every leaf of some kinds turned into another."""
    if isinstance(program, Leaf):
        return Leaf(kinds.get(program.kind, program.kind), program.number)
    nodes = tuple(changed(node, kinds) for node in program.nodes)
    return Branch(program.kind, nodes, program.number)


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
