"""Random programs over everything that a workflow may do, whose results no crash may change.

A program is plain data, so that it travels as an input to children and to successors. What each
part returns depends on nothing but the program: not on who came first, nor on how often a worker
died over it. All that an uninterrupted run returns, an interrupted one must return, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from random import Random
from typing import Any

from hypothesis import strategies as st

import loom
from tests.simulation.others import HOURS, OTHERS, RETURNS
from tests.simulation.world import (
    WORLD,
    ask,
    ask_in_vain,
    fail,
    flaky,
    in_steps,
    lengthy,
    nth_run,
    square,
    square_in_thread,
    undo,
)

type Ctx = loom.WorkflowContext[Any, Any]
type Node = dict[str, Any]

MONTH = timedelta(days=30)
"""It never passes while a program waits for anything but time, whatever dies meanwhile."""

TRIED_AGAIN = loom.RetryPolicy(
    maximum_attempts=5, initial_interval=timedelta(seconds=0.3), backoff=1
)


# --- what leaves do ------------------------------------------------------------------------------


async def _activity(run: Program, ctx: Ctx, node: Node) -> Any:
    return await ctx.activity(square, node["number"])


async def _thread(run: Program, ctx: Ctx, node: Node) -> Any:
    return await ctx.activity(square_in_thread, node["number"])


async def _flaky(run: Program, ctx: Ctx, node: Node) -> Any:
    return await ctx.activity(flaky, node["number"])


async def _failing(run: Program, ctx: Ctx, node: Node) -> Any:
    try:
        return await ctx.activity(fail, node["number"])
    except loom.ActivityFailedError as error:
        return error.cause_message


async def _local(run: Program, ctx: Ctx, node: Node) -> Any:
    return await ctx.local_activity(square, node["number"])


async def _sleep(run: Program, ctx: Ctx, node: Node) -> Any:
    hours = node["number"] * WORLD.hour
    # They are the same but for how they end in a run that is let go.
    await (asyncio.sleep(hours.total_seconds()) if node["number"] % 2 else ctx.sleep(hours))
    return "slept"


async def _state(run: Program, ctx: Ctx, node: Node) -> Any:
    key = f"key-{node['number']}"
    await ctx.state.set(key, node["number"])
    return ctx.state[key]


async def _side_effect(run: Program, ctx: Ctx, node: Node) -> Any:
    return ctx.side_effect(lambda: node["number"])


async def _patched(run: Program, ctx: Ctx, node: Node) -> Any:
    return ctx.patched(f"patch-{node['number']}")


async def _impatient(run: Program, ctx: Ctx, node: Node) -> Any:
    try:
        return await ctx.wait_for_signal("never sent", timeout=WORLD.hour)
    except TimeoutError:
        return "too late"


async def _signal(run: Program, ctx: Ctx, node: Node) -> Any:
    return await ctx.wait_for_signal(f"signal-{node['number']}", type=int)


async def _flag(run: Program, ctx: Ctx, node: Node) -> Any:
    await ctx.wait_until(lambda: node["number"] in run.flags)
    return f"flag {node['number']}"


async def _update(run: Program, ctx: Ctx, node: Node) -> Any:
    await ctx.wait_until(lambda: node["number"] in run.updated)
    return f"updated {node['number']}"


_LEAVES: dict[str, Callable[[Program, Ctx, Node], Awaitable[Any]]] = {
    "activity": _activity,
    "thread": _thread,
    "flaky": _flaky,
    "failing": _failing,
    "local": _local,
    "sleep": _sleep,
    "state": _state,
    "side effect": _side_effect,
    "patched": _patched,
    "impatient": _impatient,
}


async def _slow_local(run: Program, ctx: Ctx, node: Node) -> Any:
    return await ctx.local_activity(lengthy, node["number"])


async def _in_steps(run: Program, ctx: Ctx, node: Node) -> Any:
    return await ctx.activity(in_steps, node["number"])


async def _deadly(run: Program, ctx: Ctx, node: Node) -> Any:
    WORLD.die()
    return "survived"


async def _asked(run: Program, ctx: Ctx, node: Node) -> Any:
    return (await ctx.activity(ask, node["number"]))["answer"]


async def _refused(run: Program, ctx: Ctx, node: Node) -> Any:
    try:
        return await ctx.activity(ask_in_vain, node["number"])
    except loom.ActivityFailedError as error:
        return error.cause_message.split(",")[0]


async def _endless(run: Program, ctx: Ctx, node: Node) -> Any:
    return await ctx.wait_for_signal("never sent")


async def _late_child(run: Program, ctx: Ctx, node: Node) -> Any:
    try:
        limit = WORLD.hour / 2
        return await ctx.child(Program, {"kind": "endless", "number": 0}, run_timeout=limit)
    except loom.ChildWorkflowTimedOutError:
        return "the child was late"


_MORE = {
    "slow local": _slow_local,
    "in steps": _in_steps,
    "deadly": _deadly,
    "asked": _asked,
    "refused": _refused,
    "endless": _endless,
    "late child": _late_child,
}
"""Leaves that only richer plans have."""

_MESSAGES = {"signal": _signal, "flag": _flag, "update": _update}
"""What waits for something from outside, which is sent to the first run of a program alone."""


# --- what branches do ----------------------------------------------------------------------------


async def _sequence(run: Program, ctx: Ctx, node: Node) -> Any:
    return [await run.do(ctx, inner) for inner in node["nodes"]]


async def _gather(run: Program, ctx: Ctx, node: Node) -> Any:
    return await asyncio.gather(*(run.do(ctx, inner) for inner in node["nodes"]))


async def _group(run: Program, ctx: Ctx, node: Node) -> Any:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run.do(ctx, inner)) for inner in node["nodes"]]
    return [task.result() for task in tasks]


async def _as_completed(run: Program, ctx: Ctx, node: Node) -> Any:
    waited = loom.as_completed([run.do(ctx, inner) for inner in node["nodes"]])
    return sorted([repr(await one) for one in waited])


async def _patient(run: Program, ctx: Ctx, node: Node) -> Any:
    async with asyncio.timeout(MONTH.total_seconds() * 100):
        return await _sequence(run, ctx, node)


async def _child(run: Program, ctx: Ctx, node: Node) -> Any:
    return await ctx.child(Program, {"kind": "sequence", "nodes": node["nodes"]})


async def _failing_child(run: Program, ctx: Ctx, node: Node) -> Any:
    try:
        return await ctx.child(Program, {"kind": "raise", "nodes": node["nodes"]})
    except loom.ChildWorkflowFailedError as error:
        return error.cause_message


async def _raise(run: Program, ctx: Ctx, node: Node) -> Any:
    await _sequence(run, ctx, node)
    raise ValueError("as it was told")


async def _stubborn(run: Program, ctx: Ctx, node: Node) -> Any:
    if await ctx.activity(nth_run) < node["number"]:
        raise ValueError("not at the first try")
    return await _sequence(run, ctx, node)


async def _stubborn_child(run: Program, ctx: Ctx, node: Node) -> Any:
    return await ctx.child(Program, {**node, "kind": "stubborn"}, retry=TRIED_AGAIN)


async def _saga(run: Program, ctx: Ctx, node: Node) -> Any:
    async with ctx.saga() as saga:
        for number, inner in enumerate(node["nodes"]):
            saga.compensate(undo, number)
            await run.do(ctx, inner)
    return "kept"


async def _undone_saga(run: Program, ctx: Ctx, node: Node) -> Any:
    try:
        async with ctx.saga() as saga:
            for number, inner in enumerate(node["nodes"]):
                saga.compensate(undo, number)
                await run.do(ctx, inner)
            raise ValueError("all of it must go")
    except ValueError:
        return "undone"


_BRANCHES: dict[str, Callable[[Program, Ctx, Node], Awaitable[Any]]] = {
    "sequence": _sequence,
    "gather": _gather,
    "group": _group,
    "as completed": _as_completed,
    "patient": _patient,
    "saga": _saga,
    "undone saga": _undone_saga,
}
_CHILDREN = {"child": _child, "failing child": _failing_child}
_TRIED = {"raise": _raise, "stubborn": _stubborn, "stubborn child": _stubborn_child}
_ALL = {**_LEAVES, **_MORE, **_MESSAGES, **_BRANCHES, **_CHILDREN, **_TRIED, **OTHERS}
KINDS = frozenset((*_ALL, "chain"))


@loom.workflow
class Program(loom.Workflow[Any, Any]):
    """Runs a program: a node, or a chain of nodes, each in a run that continues the last."""

    def __init__(self) -> None:
        self.flags: set[int] = set()
        self.updated: set[int] = set()

    async def run(self, ctx: Ctx) -> Any:
        if ctx.input["kind"] != "chain":
            return await self.do(ctx, ctx.input)
        chain = {"flags": [], "updated": [], "done": [], **ctx.input}
        self.flags.update(chain["flags"])
        self.updated.update(chain["updated"])
        first, *rest = chain["nodes"]
        done = [*chain["done"], await self.do(ctx, first)]
        if rest:
            chain |= {"flags": sorted(self.flags), "updated": sorted(self.updated)}
            ctx.continue_as_new({**chain, "nodes": rest, "done": done})
        return done

    async def do(self, ctx: Ctx, node: Node) -> Any:
        return await _ALL[node["kind"]](self, ctx, node)

    @loom.signal
    def flag(self, number: int) -> None:
        self.flags.add(number)

    @loom.query
    def seen(self) -> int:
        return len(self.flags) + len(self.updated)

    @loom.update
    async def change(self, number: int) -> int:
        self.updated.add(number)
        return number + 1

    @change.validator
    def check_change(self, number: int) -> None:
        if number < 0:
            raise ValueError("nothing is less than nothing")


# --- making them up ------------------------------------------------------------------------------


def _leaf(kinds: Any) -> st.SearchStrategy[Node]:
    return st.fixed_dictionaries(
        {"kind": st.sampled_from(sorted(kinds)), "number": st.integers(0, 3)}
    )


def _branch(kinds: Any, nodes: st.SearchStrategy[Node], most: int = 3) -> st.SearchStrategy[Node]:
    inner = st.lists(nodes, min_size=1, max_size=most)
    return st.fixed_dictionaries({"kind": st.sampled_from(sorted(kinds)), "nodes": inner})


def programs() -> st.SearchStrategy[Any]:
    small = _leaf(_LEAVES) | _branch(_BRANCHES, _leaf(_LEAVES))
    with_messages = _leaf({**_LEAVES, **_MESSAGES})
    return _branch(_BRANCHES, with_messages | small | _branch(_CHILDREN, small, 2))


def chains() -> st.SearchStrategy[Node]:
    """Programs that go on in one run after the other."""
    return _branch(["chain"], programs())


def messages(program: Node) -> Iterator[tuple[str, int]]:
    """What a program waits for from outside: each time a kind and a number."""
    if program["kind"] in _MESSAGES:
        yield program["kind"], program["number"]
    for node in program.get("nodes", ()):
        yield from messages(node)


def wanted(program: Node) -> list[tuple[str, int]]:
    """What has to be sent to a program so that it ends. One flag or update is for all who wait."""
    found: list[tuple[str, int]] = []
    for kind, value in messages(program):
        if kind == "signal" or (kind, value) not in found:
            found.append((kind, value))
    return found


def kinds(program: Node) -> Iterator[str]:
    """All that a program is made of."""
    yield program["kind"]
    for node in program.get("nodes", ()):
        yield from kinds(node)


def waits(program: Node) -> Iterator[float]:
    """For how long a run of a program sets timers, in seconds: those of its own, and of a chain
    those of its first link."""
    kind = program["kind"]
    if kind in _WAITS:
        yield _WAITS[kind](program).total_seconds()
    if kind in HOURS:
        yield (HOURS[kind](program["number"]) * WORLD.hour).total_seconds()
    own = () if kind in (*_CHILDREN, "stubborn child") else program.get("nodes", ())
    for node in own[:1] if kind == "chain" else own:
        yield from waits(node)


_WAITS: dict[str, Callable[[Node], timedelta]] = {
    "sleep": lambda node: node["number"] * WORLD.hour,
    "impatient": lambda node: WORLD.hour,
    "patient": lambda node: MONTH * 100,
}


def some_program(chance: Random) -> Node:
    """A program drawn by lot, small enough that thousands can be run."""
    if chance.random() < 0.25:
        nodes = [_some_branch(chance) for _ in range(chance.choice((1, 2, 2, 3)))]
        return {"kind": "chain", "nodes": nodes}
    return _some_branch(chance)


def _some_branch(chance: Random) -> Node:
    kind = chance.choice(sorted(_BRANCHES))
    nodes = []
    for _ in range(chance.choice((1, 2, 2, 3))):
        drawn = chance.random()
        if drawn < 0.7:
            nodes.append(_some_leaf(chance, {**_LEAVES, **_MESSAGES}))
            continue
        inner = [_some_leaf(chance, _LEAVES) for _ in range(chance.choice((1, 1, 2)))]
        kinds = _BRANCHES if drawn < 0.85 else _CHILDREN
        nodes.append({"kind": chance.choice(sorted(kinds)), "nodes": inner})
    return {"kind": kind, "nodes": nodes}


def _some_leaf(chance: Random, kinds: Any) -> Node:
    return {"kind": chance.choice(sorted(kinds)), "number": chance.randrange(4)}


def some_wide(chance: Random) -> Node:
    """Much at the same time, several times."""
    kinds = {**_LEAVES, "slow local": None, "in steps": None}
    parts = []
    for _ in range(chance.randrange(1, 6)):
        few = chance.sample(sorted(kinds), 2)
        nodes = [_some_leaf(chance, few) for _ in range(chance.randrange(4, 9))]
        parts.append({"kind": chance.choice(("gather", "group", "as completed")), "nodes": nodes})
    return {"kind": "sequence", "nodes": parts}


def some_long_chain(chance: Random) -> Node:
    """Short runs, one after the other, to which much is said all the while."""
    links = [{"kind": "sequence", "nodes": [_some_leaf(chance, ("activity", "state", "sleep"))]}]
    links *= chance.randrange(3, 7)
    heard = [{"kind": "signal", "number": number} for number in range(chance.randrange(2, 6))]
    return {"kind": "chain", "nodes": [*links, {"kind": "gather", "nodes": heard}]}


def some_short(chance: Random) -> Node:
    kinds = ("activity", "state", "side effect", "in steps", "slow local")
    return {"kind": "sequence", "nodes": [_some_leaf(chance, kinds)]}


DEADLY: Node = {
    "kind": "sequence",
    "nodes": [{"kind": kind, "number": 1} for kind in ("activity", "deadly", "activity")],
}


def expected(node: Node) -> Any:
    """What a program returns that nobody interrupts, worked out without Loom."""
    number = node.get("number", 0)
    inner = [expected(one) for one in node.get("nodes", ())]
    match node["kind"]:
        case "activity" | "thread" | "local":
            return number * number
        case "flaky":
            return -number
        case "slow local":
            return number + 1
        case "in steps":
            return number + 2
        case "failing":
            return f"{number} is not wanted"
        case "state" | "side effect" | "signal":
            return number
        case "as completed":
            return sorted(map(repr, inner))
        case "flag" | "update" as kind:
            return {"flag": f"flag {number}", "update": f"updated {number}"}[kind]
        case "asked":
            return number + 5
        case "refused":
            return f"{number} is refused"
        case "sequence" | "gather" | "group" | "patient" | "child" | "chain" | "stubborn":
            return inner
        case "stubborn child":
            return inner
        case kind if kind in RETURNS:
            return RETURNS[kind](number)
        case kind:
            return _FIXED[kind]


_FIXED = {
    "sleep": "slept",
    "deadly": "survived",
    "patched": True,
    "impatient": "too late",
    "late child": "the child was late",
    "endless": "nothing ever",
    "failing child": "as it was told",
    "saga": "kept",
    "undone saga": "undone",
}


EVERYTHING: Node = {
    "kind": "chain",
    "nodes": [
        {
            "kind": "gather",
            "nodes": [
                *({"kind": kind, "number": 1} for kind in (*_LEAVES, *_MESSAGES)),
                {"kind": "undone saga", "nodes": [{"kind": "local", "number": 2}]},
            ],
        },
        {
            "kind": "group",
            "nodes": [
                {"kind": kind, "nodes": [{"kind": "activity", "number": 3}]}
                for kind in (*_BRANCHES, *_CHILDREN)
            ],
        },
    ],
}
"""One program that does all of it."""
