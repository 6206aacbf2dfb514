"""The workflow's event loop: nothing but Loom runs it, and the host never notices."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from typing import Any

import pytest

from loom.engine import loop as loop_module
from loom.errors import LoomError
from tests.engine_harness import Play, SimulatedRun
from tests.unit.workflows import Ctx, clean, workflow_of


def blocking() -> None:
    pass


REFUSED = {
    "thread": lambda: asyncio.to_thread(blocking),
    "executor": lambda: asyncio.get_running_loop().run_in_executor(None, blocking),
    "connection": lambda: asyncio.open_connection("localhost", 1),
    "server": lambda: asyncio.start_server(lambda reader, writer: None, port=0),
    "process": lambda: asyncio.create_subprocess_exec("true"),
    "shell": lambda: asyncio.create_subprocess_shell("true"),
    "address": lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_reaches_outside_is_refused_with_the_remedy(play: Play, name: str) -> None:
    async def code(ctx: Ctx) -> None:
        await REFUSED[name]()

    failure = play(workflow_of(code), guards="off").failure
    assert failure.type == "loom.errors.LoomError"
    assert "has no meaning inside a workflow" in failure.message
    assert "Do it in an activity" in failure.message


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("call_soon_threadsafe", (blocking,)),
        ("add_signal_handler", (2, blocking)),
        ("run_forever", ()),
        ("stop", ()),
        ("close", ()),
        ("set_debug", (True,)),
        ("add_reader", (0, blocking)),
    ],
)
def test_methods_of_a_real_loop_are_refused_by_name(
    play: Play, method: str, arguments: Any
) -> None:
    async def code(ctx: Ctx) -> None:
        getattr(asyncio.get_running_loop(), method)(*arguments)

    run = play(workflow_of(code), guards="off")
    assert f"loop.{method}() has no meaning" in run.failure.message


def test_a_socket_is_refused_by_the_loop(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        with socket.socket() as sock:
            await asyncio.get_running_loop().sock_recv(sock, 1)

    run = play(workflow_of(code), guards="off")
    assert "loop.sock_recv() has no meaning" in run.failure.message


def test_a_refusal_can_be_caught_like_any_error(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        try:
            await asyncio.to_thread(blocking)
        except LoomError:
            return "caught"
        return ""

    assert play(workflow_of(code), guards="off").result == "caught"


def test_a_loop_inside_the_loop_is_refused(play: Play) -> None:
    async def nothing() -> None: ...

    async def code(ctx: Ctx) -> None:
        coroutine = nothing()
        try:
            asyncio.run(coroutine)
        finally:
            coroutine.close()

    run = play(workflow_of(code), guards="off")
    assert "cannot be called from a running event loop" in run.failure.message


# --- code that does not stop, or stops everything ---


def test_spinning_code_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "MAX_CALLBACKS", 1000)

    async def code(ctx: Ctx) -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(LoomError, match="ran 1,000 callbacks without waiting"):
        SimulatedRun(workflow_of(code)).start()


def test_a_lot_of_work_in_one_turn_is_not_spinning(play: Play) -> None:
    async def code(ctx: Ctx) -> int:
        results = await asyncio.gather(*(asyncio.sleep(0, n) for n in range(10_000)))
        return len(results)

    assert play(workflow_of(code)).result == 10_000


def test_sys_exit_fails_the_workflow_and_nothing_else(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(clean)
        sys.exit(3)

    run = play(workflow_of(code))
    run.complete("clean")
    assert (run.failure.type, run.failure.message) == ("SystemExit", "3")


def test_sys_exit_in_a_child_task_fails_the_workflow_too(play: Play) -> None:
    async def exiting() -> None:
        sys.exit("enough")

    async def code(ctx: Ctx) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(exiting())
            await ctx.activity(clean)

    assert play(workflow_of(code)).failure.message == "enough"


def test_ctrl_c_reaches_the_worker_and_ends_the_coroutines() -> None:
    unwound = []

    async def waiting() -> None:
        try:
            await asyncio.sleep(50)
        finally:
            unwound.append(True)

    async def code(ctx: Ctx) -> None:
        task = asyncio.create_task(waiting())
        await ctx.activity(clean)
        del task
        raise KeyboardInterrupt

    run = SimulatedRun(workflow_of(code)).start()
    with pytest.raises(KeyboardInterrupt):
        run.complete("clean")
    assert unwound == [True]
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


@pytest.mark.parametrize("error", [GeneratorExit, asyncio.CancelledError, BaseException])
def test_whatever_the_code_raises_ends_the_run(play: Play, error: type[BaseException]) -> None:
    async def code(ctx: Ctx) -> None:
        raise error("odd")

    assert play(workflow_of(code)).failure.type == error.__name__


def test_what_a_callback_raises_harms_nobody(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        return "done"

    assert play(workflow_of(code)).result == "done"


def test_callbacks_run_in_the_order_in_which_they_were_scheduled(play: Play) -> None:
    async def code(ctx: Ctx) -> list[int]:
        loop, seen = asyncio.get_running_loop(), list[int]()
        loop.call_later(2, seen.append, 4)
        loop.call_later(1, seen.append, 3)
        handle = loop.call_later(1, seen.append, 99)
        loop.call_soon(seen.append, 1)
        loop.call_soon(seen.append, 2)
        loop.call_soon(seen.append, 98).cancel()
        handle.cancel()
        await asyncio.sleep(5)
        return seen

    run = play(workflow_of(code))
    run.advance(5)
    assert run.result == [1, 2, 3, 4]


# --- the host ---


async def test_inside_a_host_s_loop_the_host_stays_what_it_was() -> None:
    loops = []

    async def code(ctx: Ctx) -> None:
        loops.append((asyncio.get_running_loop(), asyncio.current_task()))
        await ctx.activity(clean)
        loops.append((asyncio.get_running_loop(), asyncio.current_task()))

    host, task, hooks = asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()
    run = SimulatedRun(workflow_of(code)).start()
    assert (asyncio.get_running_loop(), asyncio.current_task()) == (host, task)
    run.complete("clean")
    assert (asyncio.get_running_loop(), asyncio.current_task()) == (host, task)
    assert sys.get_asyncgen_hooks() == hooks
    assert loops[0] == loops[1]
    assert host not in loops[0]
    assert asyncio.all_tasks() == {task}
    async with asyncio.timeout(60):
        await asyncio.sleep(0)


def test_without_a_host_there_is_none_afterwards(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.activity(clean)

    play(workflow_of(code))
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_a_run_may_move_from_thread_to_thread(play: Play) -> None:
    async def code(ctx: Ctx) -> str:
        await ctx.activity(clean)
        return "done"

    run = play(workflow_of(code))
    thread = threading.Thread(target=run.complete, args=("clean",))
    thread.start()
    thread.join()
    assert run.result == "done"


async def test_runs_inside_one_host_do_not_see_each_other() -> None:
    async def code(ctx: Ctx) -> int:
        await ctx.activity(clean)
        return len(asyncio.all_tasks())

    runs = [SimulatedRun(workflow_of(code)).start() for _ in range(3)]
    for run in runs:
        run.complete("clean")
    assert [run.result for run in runs] == [1, 1, 1]
