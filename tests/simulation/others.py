"""What programs do to other runs, to how they are found, and within the time of an activity: parts
that only some plans have.

Each returns the same whatever befalls the processes, and so does every run that it begins end in
one way alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import loom
from tests.simulation.world import WORLD, deadly, fail_again, square, undo

type Ctx = loom.WorkflowContext[Any, Any]
type Node = dict[str, Any]

_AMPLE: Final = timedelta(days=30)
_ENDLESS: Final = {"kind": "endless", "number": 0}


# --- children that hear of something -------------------------------------------------------------


async def _hears(run: Any, ctx: Ctx, node: Node) -> Any:
    return await ctx.wait_for_signal("word", type=int)


async def _told(run: Any, ctx: Ctx, node: Node) -> Any:
    """By its name, as any other run; half of the time that very run is meant."""
    child = await ctx.start_child(type(run), {"kind": "hears"})
    run_id = child.run_id if node["number"] % 2 else None
    await ctx.signal_workflow(child.workflow_id, "word", node["number"], run_id=run_id)
    return await child.result()


async def _told_late(run: Any, ctx: Ctx, node: Node) -> Any:
    """When it has been continued, and its first run may be gone."""
    later = [{"kind": "sleep", "number": 1}, {"kind": "activity", "number": 1}, {"kind": "hears"}]
    child = await ctx.start_child(type(run), {"kind": "chain", "nodes": later})
    await ctx.sleep(2 * WORLD.hour)
    await child.signal("word", node["number"])
    return (await child.result())[-1]


# --- children that are called off ----------------------------------------------------------------


async def _tidies(run: Any, ctx: Ctx, node: Node) -> Any:
    try:
        return await ctx.wait_for_signal("never sent")
    except asyncio.CancelledError:
        await ctx.activity(undo, 0)
        raise


async def _called_off(run: Any, ctx: Ctx, node: Node) -> Any:
    child = await ctx.start_child(type(run), {"kind": "tidies"}, parent_close_policy="abandon")
    run_id = child.run_id if node["number"] % 2 else None
    await ctx.cancel_workflow(child.workflow_id, reason="not needed", run_id=run_id)
    return await _how_it_ended(child)


async def _child_called_off(run: Any, ctx: Ctx, node: Node) -> Any:
    child = await ctx.start_child(type(run), {"kind": "tidies"}, parent_close_policy="cancel")
    await ctx.sleep(node["number"] % 2 * WORLD.hour)
    await child.cancel(reason="not needed")
    return await _how_it_ended(child)


async def _called_off_late(run: Any, ctx: Ctx, node: Node) -> Any:
    later = [{"kind": "sleep", "number": 1}, {"kind": "tidies"}]
    child = await ctx.start_child(type(run), {"kind": "chain", "nodes": later})
    await ctx.sleep(2 * WORLD.hour)
    await child.cancel(reason="not needed")
    return await _how_it_ended(child)


async def _given_up(run: Any, ctx: Ctx, node: Node) -> Any:
    try:
        async with asyncio.timeout(WORLD.hour.total_seconds()):
            return await ctx.child(type(run), {"kind": "tidies"})
    except TimeoutError:
        return "given up"


async def _how_it_ended(child: loom.ChildHandle[Any]) -> Any:
    try:
        return await child.result()
    except loom.ChildWorkflowCancelledError:
        return "cancelled"


# --- children that outlive their parents, and their parents' runs --------------------------------


async def _left_behind(run: Any, ctx: Ctx, node: Node) -> Any:
    await ctx.start_child(type(run), _ENDLESS, parent_close_policy="terminate")
    await ctx.start_child(type(run), {"kind": "tidies"}, parent_close_policy="cancel")
    work = {"kind": "sequence", "nodes": [{"kind": "sleep", "number": 1}]}
    await ctx.start_child(type(run), work, parent_close_policy="abandon")
    return "left behind"


async def _begets(run: Any, ctx: Ctx, node: Node) -> Any:
    child = await ctx.start_child(type(run), {"kind": "hears"}, parent_close_policy="cancel")
    await ctx.state.set("heir", child.workflow_id)
    return "begotten"


async def _inherits(run: Any, ctx: Ctx, node: Node) -> Any:
    """What an earlier run of the chain has begotten."""
    child = ctx.inherited_child(ctx.state["heir"], type(run))
    await child.signal("word", node["number"])
    return await child.result()


# --- activities whose time is up, or whose workers die -------------------------------------------


async def _in_time(run: Any, ctx: Ctx, node: Node) -> Any:
    limits = {"schedule_to_start_timeout": _AMPLE, "schedule_to_close_timeout": _AMPLE}
    return await ctx.activity(loom.with_options(square, **limits), node["number"])


async def _never_begun(run: Any, ctx: Ctx, node: Node) -> Any:
    limits = {"queue": "nowhere", "schedule_to_start_timeout": WORLD.hour}
    try:
        return await ctx.activity(loom.with_options(square, **limits), node["number"])
    except loom.ActivityTimeoutError:
        return "never begun"


async def _never_done(run: Any, ctx: Ctx, node: Node) -> Any:
    limits = {"schedule_to_close_timeout": WORLD.hour}
    try:
        return await ctx.activity(loom.with_options(fail_again, **limits), node["number"])
    except loom.ActivityFailedError:
        return "never done"


async def _mortal(run: Any, ctx: Ctx, node: Node) -> Any:
    try:
        return await ctx.activity(deadly)
    except loom.ActivityFailedError:
        return "too many have died"


# --- what is found, and code that is mended ------------------------------------------------------


async def _tagged(run: Any, ctx: Ctx, node: Node) -> Any:
    ctx.set_tags({f"tag-{node['number']}": node["number"], "gone": 1})
    await ctx.activity(square, node["number"])
    ctx.set_tags({"gone": None})
    return ctx.tags[f"tag-{node['number']}"]


async def _careless(run: Any, ctx: Ctx, node: Node) -> Any:
    """Until it is mended it does something else when it is replayed."""
    if ctx.is_replaying and not WORLD.is_mended():
        await ctx.local_activity(undo, 0)
    result = await ctx.activity(square, node["number"])
    await ctx.sleep(WORLD.hour)
    return result


OTHERS: Final[dict[str, Callable[[Any, Ctx, Node], Awaitable[Any]]]] = {
    "hears": _hears,
    "told": _told,
    "told late": _told_late,
    "tidies": _tidies,
    "called off": _called_off,
    "child called off": _child_called_off,
    "called off late": _called_off_late,
    "given up": _given_up,
    "left behind": _left_behind,
    "begets": _begets,
    "inherits": _inherits,
    "in time": _in_time,
    "never begun": _never_begun,
    "never done": _never_done,
    "mortal": _mortal,
    "tagged": _tagged,
    "careless": _careless,
}

RETURNS: Final[dict[str, Callable[[int], Any]]] = {
    "hears": lambda number: "nothing, unless it is told",
    "tidies": lambda number: "nothing ever",
    "told": lambda number: number,
    "told late": lambda number: number,
    "called off": lambda number: "cancelled",
    "child called off": lambda number: "cancelled",
    "called off late": lambda number: "cancelled",
    "given up": lambda number: "given up",
    "left behind": lambda number: "left behind",
    "begets": lambda number: "begotten",
    "inherits": lambda number: number,
    "in time": lambda number: number * number,
    "never begun": lambda number: "never begun",
    "never done": lambda number: "never done",
    "mortal": lambda number: "too many have died",
    "tagged": lambda number: number,
    "careless": lambda number: number * number,
}
"""What each returns."""

HOURS: Final[dict[str, Callable[[int], int]]] = {
    "told late": lambda number: 2,
    "called off late": lambda number: 2,
    "child called off": lambda number: number % 2,
    "given up": lambda number: 1,
    "careless": lambda number: 1,
}
"""For how many hours each sets a timer."""
